use std::fs::{self, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};
use std::{path::Path, thread};

use bld_store::{GcPolicy, StatEntry, StatKey};

use crate::support::{Place, cut_power, digest, names};

fn key(path: &Path) -> StatKey {
    StatKey::from(&fs::metadata(path).unwrap())
}

fn entry(contents: &str) -> StatEntry {
    StatEntry { contents: Some(digest(contents)), plain: true }
}

/// A file that changed long enough ago for its times to be trusted.
fn settled(path: &Path, text: &str) -> StatKey {
    fs::write(path, text).unwrap();
    thread::sleep(Duration::from_millis(40));
    if fs::metadata(path).unwrap().ctime_nsec() == 0 {
        thread::sleep(Duration::from_secs(3));
    }
    key(path)
}

#[test]
fn unchanged_files_are_not_read_again() {
    let place = Place::new();
    let store = place.open();
    let path = place.root().join("file");
    let before = settled(&path, "one");

    let cache = store.stat_cache("context");
    assert_eq!(cache.get(&before), None);
    cache.insert(before, entry("one"));
    cache.save().unwrap();
    assert_eq!(place.open().stat_cache("context").get(&before), Some(entry("one")));
    assert_eq!(place.open().stat_cache("other context").get(&before), None);

    // Same size and, by intent, the same mtime: the ctime tells.
    let times = FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
    fs::write(&path, "two").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let after = key(&path);
    assert_eq!((after.size, after.mtime_ns, after.ino), (before.size, before.mtime_ns, before.ino));
    assert_eq!(place.open().stat_cache("context").get(&after), None);
}

#[test]
fn a_file_that_has_just_changed_is_not_remembered() {
    let place = Place::new();
    let store = place.open();
    let path = place.root().join("file");
    let cache = store.stat_cache("context");
    fs::write(&path, "one").unwrap();
    cache.insert(key(&path), entry("one"));
    // Not even with a time of modification in the past.
    let past = SystemTime::now() - Duration::from_hours(1);
    let times = FileTimes::new().set_modified(past);
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    cache.insert(key(&path), entry("one"));
    cache.save().unwrap();
    assert!(names(place.root().join("statcache")).is_empty());
}

#[test]
fn files_that_are_gone_are_forgotten() {
    let place = Place::new();
    let store = place.open();
    let keys: Vec<StatKey> = (0..100)
        .map(|ino| StatKey { dev: 1, ino: 100 - ino, size: ino, mtime_ns: 1, ctime_ns: 1 })
        .collect();
    let cache = store.stat_cache("context");
    for key in &keys {
        cache.insert(*key, entry(&key.ino.to_string()));
    }
    cache.save().unwrap();
    let cache = store.stat_cache("context");
    for key in &keys[..10] {
        assert_eq!(cache.get(key), Some(entry(&key.ino.to_string())));
    }
    // A digest that is new replaces the old one of the same file.
    let changed = StatKey { ctime_ns: 2, ..keys[0] };
    assert_eq!(cache.get(&changed), None);
    cache.insert(changed, entry("changed"));
    cache.save().unwrap();
    let cache = store.stat_cache("context");
    assert_eq!(cache.get(&changed), Some(entry("changed")));
    assert_eq!(cache.get(&keys[0]), None);
    assert_eq!(cache.get(&keys[1]), Some(entry("99")));
    assert_eq!(cache.get(&keys[50]), None);
}

#[test]
fn a_torn_file_is_an_empty_cache() {
    let place = Place::new();
    let key = StatKey { dev: 1, ino: 2, size: 3, mtime_ns: 1, ctime_ns: 1 };
    let store = place.open();
    let cache = store.stat_cache("context");
    cache.insert(key, entry("x"));
    cache.save().unwrap();
    drop(store);
    let file = place.root().join("statcache").join(digest("context").hex());
    let whole = fs::read(&file).unwrap();

    // Written in an earlier boot and whole.
    let mut earlier = whole.clone();
    earlier[8..12].copy_from_slice(b"0000");
    fs::write(&file, &earlier).unwrap();
    cut_power(&place.root());
    assert_eq!(place.open().stat_cache("context").get(&key), Some(entry("x")));
    // Written in an earlier boot and torn.
    *earlier.last_mut().unwrap() ^= 1;
    fs::write(&file, &earlier).unwrap();
    assert_eq!(place.open().stat_cache("context").get(&key), None);
    for length in [0, 7, 80, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        assert_eq!(place.open().stat_cache("context").get(&key), None);
    }
}

#[test]
fn files_of_layers_are_known_whatever_their_change_times() {
    let place = Place::new();
    let store = place.open();
    let active = store.prepare(None).unwrap();
    let path = active.upper().join("file");
    fs::write(&path, "one").unwrap();
    let files = store.layer_files(active.id());
    // At once: nobody will write to it any more.
    files.insert(key(&path), entry("one"));
    let id = active.commit().unwrap();
    files.save().unwrap();

    let before = key(&path);
    fs::hard_link(&path, place.root().join("shared")).unwrap();
    thread::sleep(Duration::from_millis(40));
    fs::remove_file(place.root().join("shared")).unwrap();
    assert_ne!(key(&path), before);
    assert_eq!(place.open().layer_files(id).get(&key(&path)), Some(entry("one")));
    let other = StatKey { size: 4, ..before };
    assert_eq!(place.open().layer_files(id).get(&other), None);

    // It goes with the snapshot, not before.
    drop(store);
    let store = place.open();
    store.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert_eq!(names(place.root().join("statcache")).len(), 1);
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(store.snapshot(id).unwrap(), None);
    assert!(names(place.root().join("statcache")).is_empty());
}
