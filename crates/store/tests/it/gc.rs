use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bld_oci::Digest;
use bld_store::{GcPolicy, GcReport, LayerBlob, Pruned, SnapshotId, Store, StoreError};
use serde_json::json;

use crate::support::{Place, clear, digest, image, names, record, snapshot};

/// The directories of snapshots that are there.
fn on_disk(place: &Place) -> BTreeSet<SnapshotId> {
    names(place.root().join("snapshots")).iter().map(|name| name.parse().unwrap()).collect()
}

fn layer_blob(store: &Store, layer: &Digest, contents: &str) -> Digest {
    let digest = store.put_blob(contents.as_bytes()).unwrap();
    let blob = LayerBlob { digest, size: contents.len() as u64, media_type: "tar".to_owned() };
    store.set_layer_blob(layer, "none", &blob).unwrap();
    digest
}

#[test]
fn what_is_named_stays() {
    let place = Place::new();
    let store = place.open();
    let base = snapshot(&store, None, "base");
    let of_image = snapshot(&store, Some(base), "image");
    let of_record = snapshot(&store, Some(base), "record");
    let nothing = snapshot(&store, Some(of_image), "nothing");
    store.set_diff_id(base, &digest("base layer"), 1).unwrap();
    store.set_diff_id(nothing, &digest("nothing layer"), 1).unwrap();
    let kept = layer_blob(&store, &digest("base layer"), "base blob");
    let pulled = layer_blob(&store, &digest("layer of "), "only the image has it");
    layer_blob(&store, &digest("nothing layer"), "nothing blob");
    store.put_blob(b"loose").unwrap();
    let named = image(&store, "named", Some(of_image));
    store.put_image(&named).unwrap();
    store.put_record(&record("record", Some(of_record))).unwrap();
    store.put_container("one", "one", &json!({})).unwrap();
    let of_container = store.prepare(Some(of_record)).unwrap().keep("one").unwrap().id();
    drop(store);

    let store = place.open();
    let report = store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(report.snapshots, [nothing]);
    let gone: BTreeSet<Digest> = report.blobs.iter().copied().collect();
    assert_eq!(gone, BTreeSet::from([digest("nothing blob"), digest("loose")]));
    assert!(report.bytes >= 4096 + 12 + 5, "{report:?}");
    assert_eq!(report.images, []);
    assert_eq!(on_disk(&place), BTreeSet::from([base, of_image, of_record, of_container]));
    for blob in [named.id, kept, pulled] {
        assert!(store.has_blob(&blob));
    }
    assert_eq!(store.check().unwrap(), []);
    assert_eq!(store.gc(&GcPolicy::default()).unwrap(), GcReport::default());

    // The image is untagged, but a container lies on what the record has made.
    clear(&store);
    assert_eq!(store.images().unwrap(), []);
    assert_eq!(on_disk(&place), BTreeSet::from([base, of_record, of_container]));
    store.delete_container("one").unwrap();
    clear(&store);
    assert!(on_disk(&place).is_empty());
    assert!(names(place.root().join("blobs/sha256")).is_empty());
}

#[test]
fn dangling_images() {
    let place = Place::new();
    let store = place.open();
    let snapshots: Vec<_> = (0..4).map(|n| snapshot(&store, None, &n.to_string())).collect();
    let images: Vec<_> =
        (0..4).map(|n| image(&store, &n.to_string(), Some(snapshots[n]))).collect();
    for image in &images {
        store.put_image(image).unwrap();
    }
    store.tag("tagged", &images[0].id, None).unwrap();
    store.add_repo_digest("pulled by digest", &digest("manifest"), &images[1].id).unwrap();
    store.put_container("one", "in use", &json!({})).unwrap();
    drop(store.prepare(Some(snapshots[2])).unwrap().keep("one").unwrap());
    let policy = GcPolicy { dangling_images: true, ..GcPolicy::default() };
    // Whoever has put an image is about to name it.
    assert_eq!(place.open().gc(&policy).unwrap(), GcReport::default());
    drop(store);
    let report = place.open().gc(&policy).unwrap();
    assert_eq!(report.images, [images[3].id]);
    assert_eq!(report.snapshots, [snapshots[3]]);
    assert_eq!(place.open().images().unwrap().len(), 3);
}

#[test]
fn nothing_is_taken_from_a_live_process() {
    let place = Place::new();
    let old = place.open();
    let held = snapshot(&old, None, "held");
    let top = snapshot(&old, Some(held), "top");
    let of_lease = old.put_blob(b"of the lease").unwrap();
    drop(old);

    let live = place.open();
    let lease = live.lease();
    assert!(lease.hold(top).unwrap() && lease.hold_blob(&of_lease).unwrap());
    assert!(!lease.hold_blob(&digest("nowhere")).unwrap());
    let made = snapshot(&live, None, "made");
    let parent = snapshot(&live, None, "parent");
    let active = live.prepare(Some(parent)).unwrap();
    let preparing = active.id();
    let blob = live.put_blob(b"made").unwrap();
    let named = layer_blob(&live, &digest("a layer to come"), "pulled");
    let mut writer = live.blob_writer().unwrap();
    std::io::Write::write_all(&mut writer, b"being written").unwrap();

    for _ in 0..2 {
        assert_eq!(clear(&place.open()), Pruned::default());
        // Nor from itself.
        assert_eq!(clear(&live), Pruned::default());
    }
    assert_eq!(on_disk(&place), BTreeSet::from([held, top, made, parent, preparing]));
    assert!(live.has_blob(&blob) && live.has_blob(&named));
    assert!(live.any_layer_blob(&digest("a layer to come")).unwrap().is_some());
    writer.commit(None).unwrap();
    drop(active);

    drop((lease, live));
    let report = place.open().gc(&GcPolicy::default()).unwrap();
    assert_eq!((report.snapshots.len(), report.blobs.len()), (4, 4));
    assert!(on_disk(&place).is_empty());
}

#[test]
fn as_many_as_there_are() {
    let place = Place::new();
    let store = place.open();
    let mut parent = None;
    for n in 0..300 {
        let id = store.prepare(parent).unwrap().commit().unwrap();
        parent = Some(id);
        let layer = digest(&n.to_string());
        store.set_diff_id(id, &layer, 0).unwrap();
        layer_blob(&store, &layer, &format!("blob {n}"));
        // The fresh blobs are descriptors.
        if n % 100 == 0 {
            store.put_image(&image(&store, &n.to_string(), parent)).unwrap();
        }
    }
    drop(store);
    let store = place.open();
    let report = store.gc(&GcPolicy { dangling_images: true, ..GcPolicy::default() }).unwrap();
    assert_eq!((report.snapshots.len(), report.blobs.len()), (300, 303));
    assert_eq!(report.images.len(), 3);
    assert!(on_disk(&place).is_empty());
}

#[test]
fn what_no_row_names_goes() {
    let place = Place::new();
    let store = place.open();
    let id = "00000000000000aa".parse().unwrap();
    fs::create_dir_all(place.root().join("snapshots/00000000000000aa/x")).unwrap();
    fs::write(store.blob_path(&digest("blob")), "blob").unwrap();
    store.stat_cache("context").save().unwrap();
    let dry = store.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert_eq!(on_disk(&place).len(), 1);
    let report = store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(
        (report.snapshots.as_slice(), report.blobs.as_slice()),
        ([id].as_slice(), [digest("blob")].as_slice())
    );
    assert_eq!(dry, report);
}

#[test]
fn collecting_while_others_build() {
    let place = Place::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let store = place.open();
            while !done.load(Ordering::Relaxed) {
                clear(&store);
            }
        });
        let builders: Vec<_> = (0..4)
            .map(|builder| {
                let place = &place;
                scope.spawn(move || {
                    for n in 0..15 {
                        let store = place.open();
                        let mut parent = None;
                        for step in 0..4 {
                            let id = snapshot(&store, parent, &format!("{builder} {n} {step}"));
                            store
                                .put_record(&record(&format!("{builder} {step}"), Some(id)))
                                .unwrap();
                            parent = Some(id);
                        }
                        let image = image(&store, &format!("{builder} {n}"), parent);
                        store.put_image(&image).unwrap();
                        store.tag(&format!("app{builder}"), &image.id, None).unwrap();
                    }
                })
            })
            .collect();
        for builder in builders {
            builder.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let store = place.open();
    clear(&store);
    assert_eq!(store.images().unwrap().len(), 4);
    assert_eq!(on_disk(&place).len(), 16);
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn what_is_said_about_an_image_goes_with_it() {
    let place = Place::new();
    let store = place.open();
    let one = image(&store, "one", None);
    store.put_image(&one).unwrap();
    store.tag("one", &one.id, None).unwrap();
    let (old, said) = (store.put_blob(b"old").unwrap(), store.put_blob(b"said").unwrap());
    assert!(matches!(
        store.set_said(&digest("nowhere"), Some(&said)),
        Err(StoreError::MissingImage { .. })
    ));
    store.set_said(&one.id, Some(&old)).unwrap();
    store.set_said(&one.id, Some(&said)).unwrap();
    drop(store);
    let store = place.open();
    clear(&store);
    assert_eq!(store.said(&one.id).unwrap(), Some(said));
    assert!(store.has_blob(&said) && !store.has_blob(&old));
    // Putting the image again does not cost it.
    store.put_image(&one).unwrap();
    assert_eq!(store.said(&one.id).unwrap(), Some(said));
    store.delete_image(&one.id).unwrap();
    assert_eq!(store.said(&one.id).unwrap(), None);
    drop(store);
    clear(&place.open());
    assert!(names(place.root().join("blobs/sha256")).is_empty());
}
