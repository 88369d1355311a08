use std::fs::{self, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};
use std::{path::Path, thread};

use bld_store::StatKey;

use crate::support::{Place, cut_power, digest, names};

fn key(path: &Path) -> StatKey {
    StatKey::from(&fs::metadata(path).unwrap())
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
    cache.insert(before, digest("one"));
    cache.save().unwrap();
    assert_eq!(place.open().stat_cache("context").get(&before), Some(digest("one")));
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
    cache.insert(key(&path), digest("one"));
    // Not even with a time of modification in the past.
    let past = SystemTime::now() - Duration::from_hours(1);
    let times = FileTimes::new().set_modified(past);
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    cache.insert(key(&path), digest("one"));
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
        cache.insert(*key, digest(&key.ino.to_string()));
    }
    cache.save().unwrap();
    let cache = store.stat_cache("context");
    for key in &keys[..10] {
        assert_eq!(cache.get(key), Some(digest(&key.ino.to_string())));
    }
    // A digest that is new replaces the old one of the same file.
    let changed = StatKey { ctime_ns: 2, ..keys[0] };
    assert_eq!(cache.get(&changed), None);
    cache.insert(changed, digest("changed"));
    cache.save().unwrap();
    let cache = store.stat_cache("context");
    assert_eq!(cache.get(&changed), Some(digest("changed")));
    assert_eq!(cache.get(&keys[0]), None);
    assert_eq!(cache.get(&keys[1]), Some(digest("99")));
    assert_eq!(cache.get(&keys[50]), None);
}

#[test]
fn a_torn_file_is_an_empty_cache() {
    let place = Place::new();
    let key = StatKey { dev: 1, ino: 2, size: 3, mtime_ns: 1, ctime_ns: 1 };
    let store = place.open();
    let cache = store.stat_cache("context");
    cache.insert(key, digest("x"));
    cache.save().unwrap();
    drop(store);
    let file = place.root().join("statcache").join(digest("context").hex());
    let whole = fs::read(&file).unwrap();

    // Written in an earlier boot and whole.
    let mut earlier = whole.clone();
    earlier[8..12].copy_from_slice(b"0000");
    fs::write(&file, &earlier).unwrap();
    cut_power(&place.root());
    assert_eq!(place.open().stat_cache("context").get(&key), Some(digest("x")));
    // Written in an earlier boot and torn.
    *earlier.last_mut().unwrap() ^= 1;
    fs::write(&file, &earlier).unwrap();
    assert_eq!(place.open().stat_cache("context").get(&key), None);
    for length in [0, 7, 80, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        assert_eq!(place.open().stat_cache("context").get(&key), None);
    }
}
