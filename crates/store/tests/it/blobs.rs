use std::fs;
use std::io::{Read as _, Write as _};

use bld_store::StoreError;

use crate::support::{Place, digest, in_flight, names};

#[test]
fn what_was_put_is_read() {
    let place = Place::new();
    let store = place.open();
    let name = store.put_blob(b"hello").unwrap();
    assert_eq!(name, digest("hello"));
    assert!(store.has_blob(&name));
    assert_eq!(store.read_blob(&name).unwrap(), b"hello");
    let mut text = String::new();
    store.open_blob(&name).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(store.blob_path(&name), place.root().join("blobs/sha256").join(name.hex()));
    // Read-only on disk, too.
    assert!(fs::metadata(store.blob_path(&name)).unwrap().permissions().readonly());
    // Again, by the same and by another handle.
    assert_eq!(store.put_blob(b"hello").unwrap(), name);
    assert_eq!(place.open().put_blob(b"hello").unwrap(), name);
}

#[test]
fn a_blob_that_is_not_there() {
    let place = Place::new();
    let store = place.open();
    let name = digest("nothing");
    assert!(!store.has_blob(&name));
    assert!(
        matches!(store.open_blob(&name), Err(StoreError::MissingBlob { digest }) if digest == name)
    );
    assert!(matches!(store.read_blob(&name), Err(StoreError::MissingBlob { .. })));
}

#[test]
fn a_stream_is_stored_under_its_digest() {
    let place = Place::new();
    let store = place.open();
    let contents = vec![7_u8; 300_000];
    let mut writer = store.blob_writer().unwrap();
    contents.chunks(7919).for_each(|piece| writer.write_all(piece).unwrap());
    let (name, size) = writer.commit(None).unwrap();
    assert_eq!(size, 300_000);
    assert_eq!(store.read_blob(&name).unwrap(), contents);
}

#[test]
fn other_bytes_than_expected_are_not_stored() {
    let place = Place::new();
    let store = place.open();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    let error = writer.commit(Some(digest("right"))).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { expected, found }
        if expected == digest("right") && found == digest("wrong")));
    assert!(!store.has_blob(&digest("wrong")));
    assert!(!store.has_blob(&digest("right")));

    // Nor is what was never finished.
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    drop(store);
    assert!(names(place.root().join("blobs/sha256")).is_empty());
    assert!(in_flight(place.root()).is_empty());
}

#[test]
fn damage_is_never_served() {
    let place = Place::new();
    let store = place.open();
    let name = store.put_blob(b"hello").unwrap();
    drop(store);
    fs::remove_file(place.root().join("blobs/sha256").join(name.hex())).unwrap();
    fs::write(place.root().join("blobs/sha256").join(name.hex()), b"hullo").unwrap();

    let store = place.open();
    let error = store.read_blob(&name).unwrap_err();
    assert!(
        matches!(error, StoreError::DamagedBlob { digest: d, found } if d == name && found == digest("hullo"))
    );
    assert_eq!(store.drop_damaged().unwrap(), [(name, vec![])]);
    assert!(!store.has_blob(&name));
    store.put_blob(b"hello").unwrap();
    assert_eq!(store.read_blob(&name).unwrap(), b"hello");
    assert_eq!(store.drop_damaged().unwrap(), []);
}

#[test]
fn what_is_written_again_mends_damage() {
    for whole in [true, false] {
        let place = Place::new();
        let name = place.open().put_blob(b"hello").unwrap();
        let path = place.root().join("blobs/sha256").join(name.hex());
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hullo").unwrap();

        let store = place.open();
        if whole {
            store.put_blob(b"hello").unwrap();
        } else {
            let mut writer = store.blob_writer().unwrap();
            writer.write_all(b"hello").unwrap();
            writer.commit(None).unwrap();
        }
        assert_eq!(store.read_blob(&name).unwrap(), b"hello");
    }
}

#[test]
fn a_blob_cut_short_is_replaced_by_the_whole_one() {
    let place = Place::new();
    let store = place.open();
    let path = store.blob_path(&digest("hello"));
    fs::write(&path, b"").unwrap();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hello").unwrap();
    writer.commit(Some(digest("hello"))).unwrap();
    assert_eq!(store.read_blob(&digest("hello")).unwrap(), b"hello");
    fs::remove_file(&path).unwrap();
}

#[test]
fn layers_are_found_by_how_they_are_compressed() {
    let place = Place::new();
    let store = place.open();
    let (layer, small, large) = (digest("layer"), b"small".as_slice(), b"much larger".as_slice());
    let blob = |contents: &[u8], media_type: &str| bld_store::LayerBlob {
        digest: store.put_blob(contents).unwrap(),
        size: contents.len() as u64,
        media_type: media_type.to_owned(),
    };
    assert_eq!(store.any_layer_blob(&layer).unwrap(), None);
    let (gzip, zstd) = (blob(large, "tar+gzip"), blob(small, "tar+zstd"));
    store.set_layer_blob(&layer, "gzip-6", &gzip).unwrap();
    store.set_layer_blob(&layer, "zstd-3", &zstd).unwrap();
    assert_eq!(store.layer_blob(&layer, "gzip-6").unwrap(), Some(gzip));
    assert_eq!(store.layer_blob(&layer, "zstd-3").unwrap(), Some(zstd.clone()));
    assert_eq!(store.layer_blob(&layer, "none").unwrap(), None);
    assert_eq!(store.any_layer_blob(&layer).unwrap(), Some(zstd));

    let missing =
        bld_store::LayerBlob { digest: digest("missing"), size: 1, media_type: "tar".to_owned() };
    let error = store.set_layer_blob(&layer, "none", &missing).unwrap_err();
    assert!(matches!(error, StoreError::MissingBlob { digest: d } if d == digest("missing")));
}
