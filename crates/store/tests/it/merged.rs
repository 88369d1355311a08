//! Long lines of snapshots, whose lower layers are merged.

use std::fs;

use bld_store::{GcPolicy, SnapshotId, Store};

use crate::support::{Place, names, snapshot};

fn line(store: &Store, length: usize) -> SnapshotId {
    let mut top = snapshot(store, None, "0");
    for n in 1..length {
        top = snapshot(store, Some(top), &n.to_string());
    }
    top
}

/// Merges what can be, as far as this crate is concerned.
fn merge(store: &Store, top: SnapshotId) {
    for run in store.unmerged(top).unwrap() {
        let scratch = store.scratch().unwrap();
        let first = run.layers().first().unwrap().file_name().unwrap();
        fs::write(scratch.path().join("from"), first.to_str().unwrap()).unwrap();
        store.put_merged(&run, &scratch).unwrap();
    }
}

#[test]
fn lower_layers_of_a_long_line_are_one() {
    let place = Place::new();
    let store = place.open();
    let top = line(&store, 128);
    assert!(store.unmerged(top).unwrap().is_empty());
    let top = snapshot(&store, Some(top), "one more");
    let apart = store.layers(top).unwrap();
    assert_eq!(apart.len(), 129);
    let runs = store.unmerged(top).unwrap();
    assert_eq!([runs[0].layers(), runs[1].layers()], [&apart[..64], &apart[64..128]]);

    merge(&store, top);
    let layers = store.layers(top).unwrap();
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[2], store.layer(top), "the highest is itself");
    let from = fs::read_to_string(layers[1].join("from")).unwrap();
    assert_eq!(from, apart[64].file_name().unwrap().to_str().unwrap());
    assert!(store.unmerged(top).unwrap().is_empty());
    // Another line has runs of its own, but for those that it shares.
    let ancestor = store.ancestry(top).unwrap()[99];
    let other = (0..40).fold(ancestor, |top, n| snapshot(&store, Some(top), &format!("other{n}")));
    assert_eq!(store.unmerged(other).unwrap().len(), 1);
    // Who is slower loses nothing.
    let scratch = store.scratch().unwrap();
    store.put_merged(&runs[0], &scratch).unwrap();
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn what_is_merged_goes_with_its_snapshots() {
    let place = Place::new();
    let store = place.open();
    let top = line(&store, 200);
    merge(&store, top);
    let held = store.prepare(Some(top)).unwrap();
    assert_eq!(held.layers().len(), 3 + 8);
    drop(store);
    let other = place.open();
    other.gc(&GcPolicy::default()).unwrap();
    assert!(held.layers().iter().all(|layer| layer.is_dir()));
    drop((held, other));
    let report = place.open().gc(&GcPolicy::default()).unwrap();
    assert_eq!(report.snapshots.len(), 200);
    assert!(names(place.root().join("merged")).is_empty());
}

#[test]
fn what_is_merged_is_not_believed_after_a_power_cut() {
    let place = Place::new();
    let store = place.open();
    let top = line(&store, 130);
    store.sync().unwrap();
    merge(&store, top);
    drop(store);
    fs::write(place.root().join("epoch"), "another boot").unwrap();
    let store = place.open();
    assert_eq!(store.layers(top).unwrap().len(), 130);
    merge(&store, top);
    assert_eq!(store.layers(top).unwrap().len(), 4);
}
