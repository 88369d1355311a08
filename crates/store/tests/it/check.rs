use std::fs;
use std::io;

use bld_store::{LayerBlob, Problem};

use crate::support::{Place, digest, image, snapshot};

#[test]
fn damage_is_named() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let top = snapshot(&store, Some(base), "top");
    let (good, bad, gone) = (
        image(&store, "good", Some(base)),
        image(&store, "bad", None),
        image(&store, "gone", None),
    );
    for image in [&good, &bad, &gone] {
        store.put_image(image).unwrap();
    }
    let loose = store.put_blob(b"loose").unwrap();
    let active = store.prepare(Some(base)).unwrap();
    let writer = store.blob_writer().unwrap();
    assert_eq!(store.check().unwrap(), []);

    for (blob, contents) in [(bad.id, "other"), (loose, "loos")] {
        fs::remove_file(store.blob_path(&blob)).unwrap();
        fs::write(store.blob_path(&blob), contents).unwrap();
    }
    fs::remove_file(store.blob_path(&gone.id)).unwrap();
    fs::remove_dir_all(store.layers(top).unwrap().pop().unwrap()).unwrap();
    fs::create_dir(place.root().join("snapshots/0123456789abcdef")).unwrap();
    fs::write(place.root().join("blobs/sha256/README"), "x").unwrap();
    fs::create_dir_all(place.root().join("tmp/dead/trash-0")).unwrap();
    fs::create_dir_all(place.root().join("tmp/ended/work-0")).unwrap();

    let problems = store.check().unwrap();
    let expected = [
        Problem::DamagedBlob { digest: bad.id, found: digest("other") },
        Problem::DamagedBlob { digest: loose, found: digest("loos") },
        Problem::MissingBlob { digest: gone.id },
        Problem::MissingSnapshot { id: top },
        Problem::Leftover { path: place.root().join("snapshots/0123456789abcdef") },
        Problem::Leftover { path: place.root().join("blobs/sha256/README") },
        Problem::Leftover { path: place.root().join("tmp/dead") },
    ];
    for problem in &expected {
        assert!(problems.contains(problem), "{problem} is not among {problems:?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:?}");

    // Without what is damaged, it is well again.
    for blob in &expected[..3] {
        store.repair(blob).unwrap();
    }
    drop((active, writer, store));
    let store = place.open();
    store.remove_snapshot(top).unwrap();
    store.gc(&bld_store::GcPolicy::default()).unwrap();
    fs::remove_file(place.root().join("blobs/sha256/README")).unwrap();
    assert_eq!(store.check().unwrap(), []);
    assert_eq!(store.images().unwrap(), [good]);
}

#[test]
fn snapshots_are_hashed_by_those_who_can() {
    let place = Place::new();
    let store = place.open();
    for text in ["good", "bad", "unreadable"] {
        let id = snapshot(&store, None, text);
        store.set_diff_id(id, &digest("good"), 1).unwrap();
    }
    snapshot(&store, None, "never hashed");
    let hash = |upper: &std::path::Path| match fs::read_to_string(upper.join("file"))?.as_str() {
        "unreadable" => Err(io::Error::other("no way")),
        text => Ok(digest(text)),
    };
    let problems = store.check_with(&hash).unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for problem in problems {
        match problem {
            Problem::DamagedSnapshot { diff_id, found, .. } => {
                assert_eq!((diff_id, found), (digest("good"), digest("bad")));
            }
            Problem::Unreadable { reason, .. } => assert_eq!(reason, "no way"),
            problem => panic!("{problem}"),
        }
    }
}

#[test]
fn a_damaged_layer_is_made_again() {
    let place = Place::new();
    let store = place.open();
    let blob = LayerBlob {
        digest: store.put_blob(b"layer").unwrap(),
        size: 5,
        media_type: "tar".to_owned(),
    };
    store.set_layer_blob(&digest("diff"), "none", &blob).unwrap();
    fs::remove_file(store.blob_path(&blob.digest)).unwrap();
    fs::write(store.blob_path(&blob.digest), "lay").unwrap();
    let problems = store.check().unwrap();
    assert!(matches!(problems[..], [Problem::DamagedBlob { .. }]), "{problems:?}");
    store.repair(&problems[0]).unwrap();
    assert_eq!(store.any_layer_blob(&digest("diff")).unwrap(), None);
    store.put_blob(b"layer").unwrap();
    store.set_layer_blob(&digest("diff"), "none", &blob).unwrap();
    assert_eq!(store.check().unwrap(), []);
}
