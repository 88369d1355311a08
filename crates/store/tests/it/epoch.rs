use std::fs;

use bld_store::{LayerBlob, StoreError};
use serde_json::json;

use crate::support::{Place, cut_power, digest, image, names, record, snapshot};

#[test]
fn what_was_not_synced_is_not_believed_after_a_power_cut() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let whole = image(&store, "image", Some(base));
    store.put_image(&whole).unwrap();
    store.tag("image", &whole.id, None).unwrap();
    store.put_record(&record("base", Some(base))).unwrap();
    // From here on without a sync.
    let top = snapshot(&store, Some(base), "top");
    store.put_record(&record("top", Some(top))).unwrap();
    store.set_chain(&digest("chain"), top).unwrap();
    drop(store);

    // The death of processes alone takes nothing.
    assert!(place.open().find_record(&digest("top")).unwrap().is_some());
    cut_power(&place.root());
    let store = place.open();
    assert_eq!(store.image(&whole.id).unwrap(), Some(whole.clone()));
    assert_eq!(store.resolve("image").unwrap(), Some(whole.id));
    assert_eq!(store.find_record(&digest("base")).unwrap().unwrap().snapshot, Some(base));
    assert_eq!(store.snapshot(top).unwrap(), None);
    assert_eq!(store.find_record(&digest("top")).unwrap(), None);
    assert_eq!(store.snapshot_of_chain(&digest("chain")).unwrap(), None);
    assert_eq!(names(place.root().join("snapshots")), [base.to_string()]);
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn sync_is_what_makes_it_last() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let top = snapshot(&store, Some(base), "top");
    store.put_record(&record("top", Some(top))).unwrap();
    // By any process.
    place.open().sync().unwrap();
    store.sync().unwrap();
    drop(store);
    cut_power(&place.root());
    let store = place.open();
    assert_eq!(store.ancestry(top).unwrap(), [base, top]);
    assert_eq!(store.find_record(&digest("top")).unwrap().unwrap().snapshot, Some(top));
}

#[test]
fn blobs_say_themselves_whether_they_are_whole() {
    let place = Place::new();
    let store = place.open();
    let layer = |text: &str| LayerBlob {
        digest: store.put_blob(text.as_bytes()).unwrap(),
        size: text.len() as u64,
        media_type: "tar".to_owned(),
    };
    for text in ["named and whole", "named and torn"] {
        store.set_layer_blob(&digest(text), "none", &layer(text)).unwrap();
    }
    let whole = layer("not named and whole").digest;
    let torn = layer("not named and torn").digest;
    let synced = image(&store, "synced", None);
    store.put_image(&synced).unwrap();
    drop(store);
    // "named ..." was synced with the image; again, after it.
    let store = place.open();
    for text in ["late and whole", "late and torn"] {
        let blob = LayerBlob { digest: store.put_blob(text.as_bytes()).unwrap(), ..layer_of(text) };
        store.set_layer_blob(&digest(text), "none", &blob).unwrap();
    }
    let blobs = place.root().join("blobs/sha256");
    drop(store);
    for text in ["not named and torn", "late and torn"] {
        let path = blobs.join(digest(text).hex());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
    }
    cut_power(&place.root());

    let store = place.open();
    assert!(store.has_blob(&whole));
    assert!(!store.has_blob(&torn));
    assert!(store.any_layer_blob(&digest("named and whole")).unwrap().is_some());
    assert!(store.any_layer_blob(&digest("late and whole")).unwrap().is_some());
    assert_eq!(store.any_layer_blob(&digest("late and torn")).unwrap(), None);
    assert!(!store.has_blob(&digest("late and torn")));
    assert_eq!(store.read_blob(&synced.id).unwrap(), b"synced");
    assert_eq!(store.check().unwrap(), []);

    // What was found whole is believed from now on: nothing is read at the next cut.
    let path = blobs.join(digest("late and whole").hex());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    drop(store);
    cut_power(&place.root());
    assert!(place.open().any_layer_blob(&digest("late and whole")).unwrap().is_some());
}

fn layer_of(text: &str) -> LayerBlob {
    LayerBlob { digest: digest(text), size: 0, media_type: "tar".to_owned() }
}

#[test]
fn a_container_stays_with_what_it_lies_on() {
    let place = Place::new();
    let store = place.open();
    let synced = snapshot(&store, None, "synced");
    store.sync().unwrap();
    let unsynced = snapshot(&store, None, "unsynced");
    for (id, parent) in [("one", synced), ("two", unsynced)] {
        store.put_container(id, id, &json!({})).unwrap();
        drop(store.prepare(Some(parent)).unwrap().keep(id).unwrap());
    }
    drop(store);
    cut_power(&place.root());
    let store = place.open();
    assert_eq!(store.container_layer("one").unwrap().layers(), store.layers(synced).unwrap());
    assert_eq!(store.container("two").unwrap().unwrap().layer, None);
    assert!(matches!(store.container_layer("two"), Err(StoreError::MissingContainer { .. })));
}

#[test]
fn a_directory_that_was_lost_takes_its_container_layer_along() {
    let place = Place::new();
    let store = place.open();
    store.put_container("one", "one", &json!({})).unwrap();
    let id = store.prepare(None).unwrap().keep("one").unwrap().id();
    drop(store);
    fs::remove_dir_all(place.root().join("snapshots").join(id.to_string())).unwrap();
    cut_power(&place.root());
    let store = place.open();
    assert_eq!(store.container("one").unwrap().unwrap().layer, None);
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn leftovers_of_another_boot_are_swept() {
    let place = Place::new();
    let store = place.open();
    let active = store.prepare(None).unwrap();
    fs::write(active.upper().join("file"), "x").unwrap();
    // The process is gone, the descriptors with it; only the disk is left.
    let session = names(place.root().join("tmp")).pop().unwrap();
    let copy = place.root().join("tmp").join("dead");
    fs::create_dir(&copy).unwrap();
    for name in names(place.root().join("tmp").join(session)) {
        fs::write(copy.join(name), "").unwrap();
    }
    let id = active.id().to_string();
    std::mem::forget(active);
    drop(store);
    let snapshots = place.root().join("snapshots");
    assert_eq!(names(&snapshots), [id]);
    place.open();
    assert!(names(snapshots).is_empty());
}
