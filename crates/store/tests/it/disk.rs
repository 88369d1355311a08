//! What takes space, and what rules give up of it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use bld_oci::Digest;
use bld_store::{
    CacheName, DiskEntry, DiskFilter, DiskKind, LayerBlob, PruneRule, Pruned, SnapshotId, Store,
};
use serde_json::json;

use crate::support::{Place, clear, digest, image, names, record, snapshot, snapshots_of};

/// A snapshot whose file takes about this many bytes.
fn large(store: &Store, parent: Option<SnapshotId>, size: usize) -> SnapshotId {
    snapshot(store, parent, &"x".repeat(size))
}

/// A recorded snapshot of about this many bytes, used so many hours ago.
fn step(
    place: &Place,
    parent: Option<SnapshotId>,
    name: &str,
    size: usize,
    hours: i64,
) -> SnapshotId {
    let store = place.open();
    let id = large(&store, parent, size);
    store.put_record(&record(name, Some(id))).unwrap();
    drop(store);
    let db = rusqlite::Connection::open(place.root().join("db.sqlite")).unwrap();
    let sql = "UPDATE records SET used = used - ?2 WHERE snapshot = ?1";
    let id_in_db =
        i64::from_ne_bytes(u64::from_str_radix(&id.to_string(), 16).unwrap().to_ne_bytes());
    assert_eq!(db.execute(sql, (id_in_db, hours * 3_600_000_000_000)).unwrap(), 1);
    id
}

/// A cache mount with a file of so many bytes.
fn cache_mount(store: &Store, id: &str, size: usize) -> CacheName {
    let name = CacheName { id: id.to_owned(), variant: String::new() };
    let filled = store.scratch().unwrap();
    fs::write(filled.path().join("file"), vec![1; size]).unwrap();
    store.put_cache_mount(&name, filled, None).unwrap();
    name
}

/// What du(1) says.
fn du(place: &Place) -> u64 {
    let output = Command::new("du").args(["-s", "-B1"]).arg(place.root()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn of(entries: &[DiskEntry], id: impl std::fmt::Display) -> &DiskEntry {
    let id = id.to_string();
    entries.iter().find(|entry| entry.id == id).unwrap()
}

fn near(bytes: u64, expected: u64) {
    assert!((expected..expected + 30_000).contains(&bytes), "{bytes}, not {expected}");
}

fn rule() -> PruneRule {
    PruneRule { all: true, ..PruneRule::default() }
}

fn prune(store: &Store, rule: PruneRule) -> Pruned {
    let dry = store.prune(std::slice::from_ref(&rule), true).unwrap();
    let pruned = store.prune(&[rule], false).unwrap();
    let ids = |pruned: &Pruned| pruned.entries.iter().map(|e| e.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&dry), ids(&pruned));
    pruned
}

#[test]
fn the_parts_add_up_to_what_du_says() {
    let place = Place::on_disk();
    let store = place.open();
    let of_image = large(&store, None, 100_000);
    let of_cache = large(&store, Some(of_image), 200_000);
    let unused = large(&store, Some(of_image), 400_000);
    // A second name is no second file, be it in the same snapshot or in another.
    let active = store.prepare(Some(of_image)).unwrap();
    fs::write(active.upper().join("a"), vec![1; 300_000]).unwrap();
    fs::hard_link(active.upper().join("a"), active.upper().join("b")).unwrap();
    let upper = active.upper().to_owned();
    active.keep("one").unwrap();
    store.put_container("one", "one", &json!({})).unwrap();
    let active = store.prepare(None).unwrap();
    fs::hard_link(upper.join("a"), active.upper().join("c")).unwrap();
    let sharing = active.commit().unwrap();
    store.put_record(&record("sharing", Some(sharing))).unwrap();
    let layers = [digest("layer"), digest("of cache")];
    for (layer, snapshot) in layers.iter().zip([of_image, of_cache]) {
        store.set_diff_id(snapshot, layer, 1).unwrap();
        let text = layer.to_string().repeat(1000);
        let blob = LayerBlob {
            digest: store.put_blob(text.as_bytes()).unwrap(),
            size: text.len() as u64,
            media_type: "tar".to_owned(),
        };
        store.set_layer_blob(layer, "none", &blob).unwrap();
    }
    let mut named = image(&store, "image", Some(of_image));
    named.layers = vec![layers[0]];
    store.put_image(&named).unwrap();
    store.tag("image:latest", &named.id, None).unwrap();
    store.put_record(&record("record", Some(of_cache))).unwrap();
    let npm = cache_mount(&store, "/root/.npm", 50_000);
    fs::create_dir_all(place.root().join("volumes/data")).unwrap();
    fs::write(place.root().join("volumes/data/file"), vec![1; 70_000]).unwrap();
    fs::write(place.root().join("something new"), vec![1; 90_000]).unwrap();
    store.put_blob(b"loose").unwrap();
    drop(store);

    let store = place.open();
    let usage = store.disk_usage().unwrap();
    assert_eq!(usage.iter().map(|entry| entry.bytes).sum::<u64>(), du(&place), "{usage:#?}");

    let (image, cache) = (of(&usage, of_image), of(&usage, of_cache));
    near(image.bytes, 100_000 + 72_000);
    near(cache.bytes, 200_000 + 72_000);
    assert!(image.in_use && image.shared && !cache.in_use && !cache.shared);
    assert_eq!(image.description, "layer of image:latest");
    assert_eq!(cache.parents, [of_image.to_string()]);
    assert!(!of(&usage, unused).in_use);
    near(of(&usage, unused).bytes, 400_000);
    let container =
        usage.iter().find(|entry| entry.description == "layer of container one").unwrap();
    assert!(container.mutable && container.in_use);
    near(container.bytes, 300_000);
    near(of(&usage, sharing).bytes, 0);
    assert!(of(&usage, sharing).shared && !of(&usage, sharing).in_use);
    let mount = of(&usage, npm.key());
    assert_eq!(
        (mount.kind, mount.description.as_str()),
        (DiskKind::CacheMount, "cache mount /root/.npm")
    );
    near(mount.bytes, 50_000);
    near(of(&usage, "volumes").bytes, 70_000);
    near(of(&usage, "leftovers").bytes, 5);

    // What is said to be reclaimable is what is freed. (Sizes settle when they are on disk.)
    store.sync().unwrap();
    let usage = store.disk_usage().unwrap();
    let reclaimable: u64 =
        usage.iter().filter(|entry| !entry.in_use).map(|entry| entry.bytes).sum();
    let before = du(&place);
    let pruned = prune(&store, rule());
    assert_eq!(pruned.bytes, reclaimable);
    let freed = before - du(&place);
    assert!(freed.abs_diff(reclaimable) < 50_000, "{freed}, not {reclaimable}");
    assert_eq!(snapshots_of(&pruned).len(), 3);
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn the_least_recently_used_go_first() {
    let place = Place::new();
    let base = step(&place, None, "base", 100_000, 9);
    let steps: Vec<_> =
        (0..4).map(|n| step(&place, Some(base), &n.to_string(), 100_000, 4 - n)).collect();
    let store = place.open();
    let keep = |bytes| PruneRule { max_used: Some(bytes), ..rule() };
    assert_eq!(prune(&store, keep(1_000_000)), Pruned::default());
    let pruned = prune(&store, keep(350_000));
    assert_eq!(BTreeSet::from_iter(snapshots_of(&pruned)), BTreeSet::from([steps[0], steps[1]]));
    near(pruned.bytes, 200_000);
    // What they lie on is older than all, and goes last.
    assert_eq!(snapshots_of(&prune(&store, keep(150_000))).len(), 2);
    assert!(store.snapshot(base).unwrap().is_some());
    assert_eq!(snapshots_of(&prune(&store, keep(1))), [base]);
}

#[test]
fn limits_are_weighed_against_each_other() {
    let place = Place::new();
    for n in 0..4 {
        step(&place, None, &n.to_string(), 100_000, 4 - n);
    }
    let store = place.open();
    let count = |rule: PruneRule| snapshots_of(&store.prune(&[rule], true).unwrap()).len();
    let (all, free) = store.free_space().unwrap();
    assert!(all >= free && free > 0);
    assert_eq!(count(PruneRule { min_free: Some(1), ..rule() }), 0);
    assert_eq!(count(PruneRule { min_free: Some(u64::MAX), ..rule() }), 4);
    assert_eq!(count(PruneRule { min_free: Some(u64::MAX), reserved: Some(250_000), ..rule() }), 2);
    assert_eq!(count(PruneRule { max_used: Some(1), reserved: Some(u64::MAX), ..rule() }), 0);
    assert_eq!(count(PruneRule { reserved: Some(150_000), ..rule() }), 3);
    // One rule after the other, each on what the one before has left.
    let old = PruneRule { keep_duration: Some(Duration::from_mins(150)), ..rule() };
    let rest = PruneRule { max_used: Some(350_000), ..rule() };
    assert_eq!(snapshots_of(&store.prune(&[old, rest], false).unwrap()).len(), 2);
}

#[test]
fn rules_are_about_what_they_name() {
    let place = Place::new();
    let base = step(&place, None, "base", 1000, 5);
    let top = step(&place, Some(base), "top", 1000, 1);
    let store = place.open();
    let npm = cache_mount(&store, "npm", 1);
    fs::write(place.root().join("statcache/aa"), "x").unwrap();
    let only =
        |filter: &str| PruneRule { filters: vec![DiskFilter::parse(filter).unwrap()], ..rule() };
    // Something lies on it.
    assert_eq!(prune(&store, only(&format!("id={base}"))), Pruned::default());
    let old = PruneRule { keep_duration: Some(Duration::from_hours(2)), ..rule() };
    assert_eq!(prune(&store, old), Pruned::default());
    assert_eq!(prune(&store, only("type==exec.cachemount")).entries[0].id, npm.key());
    assert_eq!(prune(&store, only("type==source.local")).entries[0].id, "aa");
    assert!(names(store.cache_mounts_dir()).is_empty());
    assert_eq!(snapshots_of(&prune(&store, only("type==regular,private"))).len(), 2);
    assert!(store.snapshot(top).unwrap().is_none());
    assert!(store.find_record(&digest("base")).unwrap().is_none());
}

#[test]
fn records_of_nothing_go_by_age() {
    let place = Place::new();
    let store = place.open();
    for name in ["used", "unused"] {
        store.put_record(&record(name, None)).unwrap();
    }
    drop(store);
    // As if two hours had passed.
    let db = rusqlite::Connection::open(place.root().join("db.sqlite")).unwrap();
    db.execute("UPDATE records SET used = used - 7200000000000", ()).unwrap();
    drop(db);
    assert!(place.open().find_record(&digest("used")).unwrap().is_some());
    let store = place.open();
    let older = |hours| -> Vec<Digest> {
        let rule = PruneRule { keep_duration: Some(Duration::from_hours(hours)), ..rule() };
        store.prune(&[rule], false).unwrap();
        // Asking by name would be a use.
        store.find_by_op(&digest("op"), 9).unwrap().iter().map(|record| record.definition).collect()
    };
    assert_eq!(older(3), [digest("unused"), digest("used")]);
    assert_eq!(older(1), [digest("used")]);
    clear(&store);
    assert_eq!(older(1), []);
}

#[test]
fn a_cache_mount_in_use_stays() {
    let place = Place::new();
    let store = place.open();
    let npm = cache_mount(&store, "npm", 1);
    let hold = store.hold_cache_mount(&npm, false).unwrap();
    let second = store.hold_cache_mount(&npm, false).unwrap();
    assert!(of(&store.disk_usage().unwrap(), npm.key()).in_use);
    assert_eq!(prune(&place.open(), rule()), Pruned::default());
    drop(hold);
    assert_eq!(prune(&place.open(), rule()), Pruned::default());
    drop(second);
    assert_eq!(prune(&place.open(), rule()).entries.len(), 1);
    assert!(names(store.cache_mounts_dir()).is_empty());
}
