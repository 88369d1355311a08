//! Cache mounts: found by name, shared or had alone, replaced and removed whole.

use std::fs;

use bld_store::{CacheAccess, CacheHold, CacheName, Store};

use crate::support::in_flight;

fn name(id: &str, variant: &str) -> CacheName {
    CacheName { id: id.to_owned(), variant: variant.to_owned() }
}

/// Makes a cache mount with one file.
fn put(store: &Store, name: &CacheName, file: &str, instead_of: Option<CacheHold>) {
    let filled = store.scratch().unwrap();
    fs::write(filled.path().join(file), file).unwrap();
    store.put_cache_mount(name, filled, instead_of).unwrap();
}

fn hold(store: &Store, name: &CacheName, alone: bool) -> Option<CacheHold> {
    match store.hold_cache_mount(name, alone).unwrap() {
        CacheAccess::Held(hold) => Some(hold),
        CacheAccess::Busy | CacheAccess::Missing => None,
    }
}

fn files(hold: &CacheHold) -> Vec<String> {
    let files = fs::read_dir(hold.dir()).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn they_are_shared_or_had_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, npm) = (Store::open(dir.path()).unwrap(), name("npm", ""));
    assert!(matches!(store.hold_cache_mount(&npm, false), Ok(CacheAccess::Missing)));
    put(&store, &npm, "one", None);
    // What is there stays.
    put(&store, &npm, "two", None);
    let shared = hold(&store, &npm, false).unwrap();
    assert_eq!(files(&shared), ["one"]);
    let other = Store::open(dir.path()).unwrap();
    assert!(matches!(other.hold_cache_mount(&npm, true), Ok(CacheAccess::Busy)));
    let also = hold(&other, &npm, false).unwrap();
    drop((shared, also));
    let alone = hold(&other, &npm, true).unwrap();
    assert!(matches!(store.hold_cache_mount(&npm, false), Ok(CacheAccess::Busy)));
    drop(alone);
    assert!(hold(&store, &npm, false).is_some());
}

#[test]
fn they_are_replaced_and_removed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, npm) = (Store::open(dir.path()).unwrap(), name("npm", "700:7:8"));
    put(&store, &npm, "one", None);
    put(&store, &name("npm", ""), "other", None);
    let names = |store: &Store| -> Vec<CacheName> {
        store.cache_mounts().unwrap().into_iter().map(|mount| mount.name).collect()
    };
    assert_eq!(names(&store), [name("npm", ""), npm.clone()]);
    let alone = hold(&store, &npm, true);
    put(&store, &npm, "two", alone);
    assert_eq!(files(&hold(&store, &npm, false).unwrap()), ["two"]);
    let alone = hold(&store, &npm, true).unwrap();
    store.remove_cache_mount(&npm, alone).unwrap();
    assert_eq!(names(&store), [name("npm", "")]);
    // Nothing is left of what was replaced or removed.
    drop(store);
    assert_eq!(fs::read_dir(dir.path().join("cachemounts")).unwrap().count(), 2);
    assert!(in_flight(dir.path()).is_empty());
}

#[test]
fn what_says_what_one_is_is_written_again_when_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (store, npm) = (Store::open(dir.path()).unwrap(), name("npm", ""));
    put(&store, &npm, "one", None);
    fs::remove_file(dir.path().join(format!("cachemounts/{}.json", npm.key()))).unwrap();
    assert_eq!(store.cache_mounts().unwrap(), []);
    let used = hold(&store, &npm, false).unwrap();
    store.touch_cache_mount(&npm).unwrap();
    assert_eq!(store.cache_mounts().unwrap()[0].name, npm);
    assert_eq!(files(&used), ["one"]);
}
