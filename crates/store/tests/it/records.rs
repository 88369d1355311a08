use bld_store::{Record, RecordInput, StoreError};

use crate::support::{Place, digest, record, snapshot};

#[test]
fn a_record_is_what_was_put() {
    let place = Place::new();
    let store = place.open();
    let made = snapshot(&store, None, "made");
    let input = RecordInput {
        name: "context".to_owned(),
        definition: digest("context"),
        snapshot: Some(made),
        content: Some(digest("files")),
    };
    let whole = Record { inputs: vec![input], ..record("a", Some(made)) };
    store.put_record(&whole).unwrap();
    assert_eq!(place.open().find_record(&whole.definition).unwrap(), Some(whole));
    assert_eq!(store.find_record(&digest("b")).unwrap(), None);
    store.put_record(&record("nothing made", None)).unwrap();
    assert_eq!(store.find_record(&digest("nothing made")).unwrap().unwrap().snapshot, None);
}

#[test]
fn newest_first() {
    let place = Place::new();
    let store = place.open();
    for name in ["a", "b", "c", "d"] {
        store.put_record(&record(name, None)).unwrap();
    }
    store
        .put_record(&Record { op: digest("other"), scope: "else".to_owned(), ..record("e", None) })
        .unwrap();
    // Done again, it is new again.
    store.put_record(&record("b", None)).unwrap();
    let names = |records: Vec<Record>| {
        let names = records.iter().map(|record| record.fields["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().concat()
    };
    assert_eq!(names(store.find_by_op(&digest("op"), 10).unwrap()), "bdca");
    assert_eq!(names(store.find_by_op(&digest("op"), 2).unwrap()), "bd");
    assert_eq!(names(store.find_similar("Dockerfile", usize::MAX).unwrap()), "bdca");
    assert_eq!(names(store.find_similar("else", 1).unwrap()), "e");
}

#[test]
fn no_snapshot_no_record() {
    let place = Place::new();
    let store = place.open();
    let made = snapshot(&store, None, "made");
    store.put_record(&record("a", Some(made))).unwrap();
    store.remove_snapshot(made).unwrap();
    assert_eq!(store.find_record(&digest("a")).unwrap(), None);
    let late = store.put_record(&record("b", Some(made)));
    assert!(matches!(late, Err(StoreError::MissingSnapshot { id }) if id == made));
}

#[test]
fn notes() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.get("urls", "a").unwrap(), None);
    store.put("urls", "b", b"2").unwrap();
    store.put("urls", "a", b"1").unwrap();
    store.put("urls", "a", b"3").unwrap();
    store.put("other", "a", b"").unwrap();
    let store = place.open();
    assert_eq!(store.get("urls", "a").unwrap(), Some(b"3".to_vec()));
    assert_eq!(store.keys("urls").unwrap(), ["a", "b"]);
    assert!(store.delete("urls", "a").unwrap());
    assert!(!store.delete("urls", "a").unwrap());
    assert_eq!(store.get("other", "a").unwrap(), Some(Vec::new()));
}
