use std::time::Duration;

use bld_store::{GcPolicy, Record, RecordInput};

use crate::support::{Place, digest, record, snapshot};

#[test]
fn a_listing_goes_with_the_last_record_of_it() {
    let place = Place::new();
    let store = place.open();
    let made = snapshot(&store, None, "made");
    let content = digest("files");
    let input = RecordInput {
        name: "from:0".to_owned(),
        definition: content,
        snapshot: None,
        content: Some(content),
    };
    store.put_record(&Record { inputs: vec![input], ..record("a", Some(made)) }).unwrap();
    for (content, listing) in [(content, "first"), (content, "second"), (digest("lost"), "lost")] {
        store.put_listing(&content, || Some(listing.into())).unwrap();
    }
    assert_eq!(store.listing(&content).unwrap().as_deref(), Some(&b"first"[..]));

    store.gc(&GcPolicy::default()).unwrap();
    assert!(store.listing(&content).unwrap().is_some());
    assert_eq!(store.listing(&digest("lost")).unwrap(), None);

    store.remove_snapshot(made).unwrap();
    store.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert!(store.listing(&content).unwrap().is_some());
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(store.listing(&content).unwrap(), None);
}

#[test]
fn the_last_build_of_a_project_is_known() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.steps_of_last_build("/app:image").unwrap(), []);
    let steps = [digest("a"), digest("b")];
    store.put_steps_of_last_build("/app:image", &steps).unwrap();
    assert_eq!(place.open().steps_of_last_build("/app:image").unwrap(), steps);
    // A few are kept even if all they had made is gone, many are not.
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(store.steps_of_last_build("/app:image").unwrap(), steps);
    for project in 0..300 {
        store.put_steps_of_last_build(&project.to_string(), &steps).unwrap();
    }
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(store.steps_of_last_build("/app:image").unwrap(), []);
}

#[test]
fn durations_go_with_the_records_of_their_scopes() {
    let place = Place::new();
    let store = place.open();
    let took = Duration::from_millis(1500);
    store.put_record(&Record { scope: "kept".to_owned(), ..record("a", None) }).unwrap();
    for scope in ["kept", "lost"] {
        store.put_duration(scope, took).unwrap();
    }
    assert_eq!(store.duration("never").unwrap(), None);
    // A few are kept without a record: what is made again after pruning takes as long.
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(place.open().duration("lost").unwrap(), Some(took));
    for scope in 0..300 {
        store.put_duration(&scope.to_string(), took).unwrap();
    }
    store.gc(&GcPolicy { dry_run: true, ..GcPolicy::default() }).unwrap();
    assert_eq!(store.duration("lost").unwrap(), Some(took));
    store.gc(&GcPolicy::default()).unwrap();
    assert_eq!(store.duration("lost").unwrap(), None);
    assert_eq!(store.duration("kept").unwrap(), Some(took));
}
