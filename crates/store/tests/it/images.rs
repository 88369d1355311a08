use bld_oci::Digest;
use bld_store::{ImageRecord, StoreError};

use crate::support::{Place, digest, image, snapshot};

#[test]
fn an_image_is_what_was_put() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let first = ImageRecord {
        manifest: Some(store.put_blob(b"manifest").unwrap()),
        ..image(&store, "one", Some(base))
    };
    store.put_image(&first).unwrap();
    assert_eq!(place.open().image(&first.id).unwrap(), Some(first.clone()));
    assert_eq!(place.open().images().unwrap(), std::slice::from_ref(&first));

    // What is left out is kept; putting it again does not cost the tags.
    store.tag("docker.io/library/one:latest", &first.id, None).unwrap();
    store
        .put_image(&ImageRecord { manifest: None, snapshot: None, size: 6, ..first.clone() })
        .unwrap();
    assert_eq!(store.image(&first.id).unwrap(), Some(ImageRecord { size: 6, ..first.clone() }));
    assert_eq!(store.tags_of(&first.id).unwrap().len(), 1);
    assert!(matches!(store.remove_snapshot(base), Err(StoreError::SnapshotInUse { .. })));

    assert!(store.delete_image(&first.id).unwrap());
    assert!(!store.delete_image(&first.id).unwrap());
    assert_eq!(store.image(&first.id).unwrap(), None);
    assert_eq!(store.tags().unwrap(), []);
}

#[test]
fn an_image_names_only_what_is_there() {
    let place = Place::new();
    let store = place.open();
    let whole = image(&store, "one", None);
    let no_config = ImageRecord { id: digest("nowhere"), ..whole.clone() };
    assert!(
        matches!(store.put_image(&no_config), Err(StoreError::MissingBlob { digest: d }) if d == no_config.id)
    );
    let no_manifest = ImageRecord { manifest: Some(digest("nowhere")), ..whole.clone() };
    assert!(matches!(store.put_image(&no_manifest), Err(StoreError::MissingBlob { .. })));
    let gone = snapshot(&store, None, "gone");
    store.remove_snapshot(gone).unwrap();
    let no_snapshot = ImageRecord { snapshot: Some(gone), ..whole };
    assert!(matches!(store.put_image(&no_snapshot), Err(StoreError::MissingSnapshot { .. })));
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn tags_move() {
    let place = Place::new();
    let store = place.open();
    let (one, two) = (image(&store, "one", None), image(&store, "two", None));
    store.put_image(&one).unwrap();
    store.put_image(&two).unwrap();
    let name = "docker.io/library/app:latest";
    store.tag(name, &one.id, Some(digest("manifest"))).unwrap();
    assert_eq!(store.resolve(name).unwrap(), Some(one.id));
    assert_eq!(
        store.find_repo_digest("docker.io/library/app", &digest("manifest")).unwrap(),
        Some(one.id)
    );
    let set = store.tags_of(&one.id).unwrap();
    // The same again is nothing new.
    store.tag(name, &one.id, Some(digest("manifest"))).unwrap();
    assert_eq!(store.tags_of(&one.id).unwrap(), set);

    store.tag(name, &two.id, None).unwrap();
    assert_eq!(store.resolve(name).unwrap(), Some(two.id));
    assert_eq!(store.tags_of(&one.id).unwrap(), []);
    assert_eq!(store.repo_digests_of(&one.id).unwrap().len(), 1);
    assert!(store.untag(name).unwrap());
    assert!(!store.untag(name).unwrap());
    assert_eq!(store.resolve(name).unwrap(), None);

    let nowhere = digest("nowhere");
    assert!(
        matches!(store.tag(name, &nowhere, None), Err(StoreError::MissingImage { id }) if id == nowhere)
    );
    let add = store.add_repo_digest("docker.io/library/app", &digest("manifest"), &nowhere);
    assert!(matches!(add, Err(StoreError::MissingImage { .. })));
    store.add_repo_digest("docker.io/library/app", &digest("manifest"), &two.id).unwrap();
    let known = store.repo_digests_of(&two.id).unwrap();
    assert_eq!(
        (known[0].repo.as_str(), known[0].digest),
        ("docker.io/library/app", digest("manifest"))
    );
}

#[test]
fn prefixes_of_any_length() {
    let place = Place::new();
    let store = place.open();
    let mut ids: Vec<Digest> = (0..40)
        .map(|n| image(&store, &format!("image {n}"), None))
        .map(|image| {
            store.put_image(&image).unwrap();
            image.id
        })
        .collect();
    ids.sort();
    for length in [0, 1, 2, 3, 63, 64] {
        let prefix = &ids[20].hex()[..length];
        let expected: Vec<Digest> =
            ids.iter().copied().filter(|id| id.hex().starts_with(prefix)).collect();
        assert_eq!(store.find_by_prefix(prefix).unwrap(), expected, "{prefix}");
    }
    for wrong in ["x", "AB", "sha256:", &"0".repeat(65)] {
        assert_eq!(store.find_by_prefix(wrong).unwrap(), [], "{wrong}");
    }
}
