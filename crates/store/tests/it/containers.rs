use std::fs;
use std::thread;

use bld_store::StoreError;
use serde_json::json;

use crate::support::{Place, names, snapshot};

#[test]
fn found_by_id_name_and_prefix() {
    let place = Place::new();
    let store = place.open();
    store.put_container("abc1", "web", &json!({ "n": 1 })).unwrap();
    store.put_container("abd2", "db", &json!({ "n": 2 })).unwrap();
    store.put_container("ff", "abc1x", &json!(null)).unwrap();
    let id = |text: &str| store.container(text).unwrap().map(|container| container.id);
    assert_eq!(id("abc1").as_deref(), Some("abc1"));
    assert_eq!(id("db").as_deref(), Some("abd2"));
    assert_eq!(id("abd").as_deref(), Some("abd2"));
    assert_eq!(id("abc1x").as_deref(), Some("ff"));
    assert_eq!(id(""), None);
    assert_eq!(id("x"), None);
    assert_eq!(id("%"), None);
    let error = store.container("ab").unwrap_err();
    assert!(
        matches!(&error, StoreError::Ambiguous { matches, .. } if *matches == ["abc1", "abd2"])
    );
    assert_eq!(error.to_string(), "prefix \"ab\" is ambiguous: it fits abc1, abd2");
    assert_eq!(store.containers().unwrap().len(), 3);
}

#[test]
fn names_are_unique() {
    let place = Place::new();
    let store = place.open();
    store.put_container("one", "web", &json!({})).unwrap();
    let taken = |result: bld_store::Result<()>| match result.unwrap_err() {
        StoreError::NameTaken { name, id } => (name, id),
        error => panic!("{error}"),
    };
    let expected = ("web".to_owned(), "one".to_owned());
    assert_eq!(taken(store.put_container("two", "web", &json!({}))), expected);
    store.put_container("two", "db", &json!({})).unwrap();
    assert_eq!(taken(store.rename_container("two", "web")), expected);
    // Its own name is no conflict, and free again once it is given up.
    store.put_container("one", "web", &json!({ "again": true })).unwrap();
    store.rename_container("one", "www").unwrap();
    store.rename_container("two", "web").unwrap();
    assert!(store.delete_container("one").unwrap());
    assert!(!store.delete_container("one").unwrap());
    assert!(matches!(store.rename_container("one", "x"), Err(StoreError::MissingContainer { .. })));
}

#[test]
fn updates_are_never_lost() {
    let place = Place::new();
    place.open().put_container("one", "web", &json!({ "count": 0 })).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = place.open();
                for _ in 0..50 {
                    let add = |state: &mut serde_json::Value| {
                        state["count"] = json!(state["count"].as_i64().unwrap() + 1);
                    };
                    store.update_container("one", add).unwrap();
                }
            });
        }
    });
    let container = place.open().container("web").unwrap().unwrap();
    assert_eq!(container.state, json!({ "count": 400 }));
    let update = place.open().update_container("two", |_| {});
    assert!(matches!(update, Err(StoreError::MissingContainer { .. })));
}

#[test]
fn the_layer_of_a_container_outlives_the_process() {
    let place = Place::new();
    let base = snapshot(&place.open(), None, "base");
    let store = place.open();
    store.put_container("one", "web", &json!({})).unwrap();
    assert!(matches!(store.container_layer("one"), Err(StoreError::MissingContainer { .. })));
    let layer = store.prepare(Some(base)).unwrap().keep("one").unwrap();
    fs::write(layer.upper().join("data"), "data").unwrap();
    fs::create_dir_all(layer.work().join("work/left")).unwrap();
    assert_eq!(store.container("one").unwrap().unwrap().layer, Some(layer.id()));

    // One process at a time, and no removal meanwhile.
    let other = place.open();
    assert!(matches!(other.container_layer("one"), Err(StoreError::SnapshotInUse { .. })));
    assert!(matches!(other.delete_container("one"), Err(StoreError::SnapshotInUse { .. })));
    let again = store.prepare(None).unwrap().keep("one");
    assert!(matches!(again, Err(StoreError::SnapshotInUse { .. })));
    drop((layer, store));

    let layer = other.container_layer("one").unwrap();
    assert_eq!(layer.layers(), other.layers(base).unwrap());
    assert_eq!(fs::read_to_string(layer.upper().join("data")).unwrap(), "data");
    assert!(names(layer.work()).is_empty());
    assert!(matches!(other.remove_snapshot(base), Err(StoreError::SnapshotInUse { .. })));
    drop(layer);
    assert!(other.delete_container("one").unwrap());
    assert_eq!(names(place.root().join("snapshots")), [base.to_string()]);
}
