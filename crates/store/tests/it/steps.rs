use std::fs;
use std::time::SystemTime;

use bld_store::{GcPolicy, PruneRule, SnapshotId, Step, Store, StoreError};
use serde_json::json;

use crate::support::{Place, clear, digest, names, record, snapshot};

fn step(name: &str, snapshot: SnapshotId, failed: bool) -> Step {
    let config = json!({ "of": name });
    let created = SystemTime::now();
    Step { id: digest(name), name: name.to_owned(), snapshot, config, failed, created }
}

/// Puts a step that failed, with a file system of its own.
fn failed(store: &Store, name: &str) -> Step {
    let step = step(name, snapshot(store, None, name), true);
    store.put_step(&step).unwrap();
    step
}

#[test]
fn a_step_is_found_by_the_start_of_its_id() {
    let place = Place::new();
    let store = place.open();
    let made = step("a", snapshot(&store, None, "a"), false);
    store.put_step(&made).unwrap();
    let hex = made.id.hex();
    assert_eq!(place.open().step(&made.id).unwrap().as_ref(), Some(&made));
    assert_eq!(store.find_steps(&hex[..6]).unwrap().len(), 1);
    assert_eq!(store.find_steps(&hex).unwrap().len(), 1);
    assert_eq!(store.find_steps("0123456789ab").unwrap(), []);
    store.put_step(&step("b", made.snapshot, false)).unwrap();
    assert_eq!(store.find_steps("").unwrap().len(), 2);
    // What ran last counts.
    let again = failed(&store, "a");
    assert_eq!(store.step(&made.id).unwrap(), Some(again));
    store.remove_snapshot(made.snapshot).unwrap();
    assert_eq!(store.step(&digest("b")).unwrap(), None);
    let late = store.put_step(&step("c", made.snapshot, false));
    assert!(matches!(late, Err(StoreError::MissingSnapshot { id }) if id == made.snapshot));
}

#[test]
fn failed_steps_keep_what_they_left_but_only_the_newest() {
    let place = Place::new();
    let store = place.open();
    let steps: Vec<Step> = (0..12).map(|n| failed(&store, &n.to_string())).collect();
    assert_eq!(names(place.root().join("snapshots")).len(), 8);
    let known = |step: &Step| store.step(&step.id).unwrap().is_some();
    assert!(!known(&steps[3]) && known(&steps[4]));
    // The same one again takes the place of what it left before.
    failed(&store, "11");
    assert_eq!(names(place.root().join("snapshots")).len(), 8);
    assert!(known(&steps[4]));
    drop(store);

    let store = place.open();
    assert_eq!(store.gc(&GcPolicy::default()).unwrap().snapshots, []);
    // They are internal, and go only when everything does.
    assert_eq!(store.prune(&[PruneRule::default()], false).unwrap().entries, []);
    let pruned = clear(&store);
    assert_eq!(pruned.entries.len(), 8);
    assert!(pruned.entries.iter().all(|entry| entry.description.ends_with("(failed)")));
    assert_eq!(store.find_steps("").unwrap(), []);
}

#[test]
fn a_container_may_lie_on_what_a_failed_step_left() {
    let place = Place::new();
    let store = place.open();
    let step = failed(&store, "a");
    store.put_container("one", "one", &json!({})).unwrap();
    drop(store.prepare(Some(step.snapshot)).unwrap().keep("one").unwrap());
    failed(&store, "a");
    assert!(store.snapshot(step.snapshot).unwrap().is_some());
}

#[test]
fn logs_go_with_their_steps() {
    let place = Place::new();
    let store = place.open();
    let write = |name: &str| fs::write(store.step_log(&digest(name)), name).unwrap();
    let made = snapshot(&store, None, "made");
    for name in ["known", "running", "gone"] {
        write(name);
    }
    store.put_record(&record("known", Some(made))).unwrap();
    store.put_step(&step("known", made, false)).unwrap();
    let running = store.lock(&digest("running").hex()).unwrap();
    store.gc(&GcPolicy::default()).unwrap();
    let exists = |name: &str| store.step_log(&digest(name)).exists();
    assert_eq!([exists("known"), exists("running"), exists("gone")], [true, true, false]);
    drop(running);
    drop(store);
    clear(&place.open());
    assert_eq!(names(place.root().join("logs")), Vec::<String>::new());
}
