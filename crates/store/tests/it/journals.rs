use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bld_store::{Journal, PruneRule};

use crate::support::Place;

fn ago(hours: u64) -> Journal {
    let began = SystemTime::now() - Duration::from_hours(hours);
    Journal { began, ..Journal::new().unwrap() }
}

#[test]
fn the_newest_are_kept_and_the_young_ones() {
    let place = Place::new();
    let store = place.open();
    let journals: Vec<Journal> = (0..60).map(|n| ago(if n < 5 { n } else { 48 + n })).collect();
    let live = ago(1000);
    let mut written = store.begin_journal(&live).unwrap();
    for journal in &journals {
        drop(store.begin_journal(journal).unwrap());
    }
    store.remove_old_journals().unwrap();
    let kept = place.open().journals().unwrap();
    assert_eq!((kept.len(), &kept[..50], &kept[50]), (51, &journals[..50], &live));

    // With the cache they go at any age, but never while they are written.
    written.write_all(b"line\n").unwrap();
    let everything = [PruneRule { all: true, ..PruneRule::default() }];
    store.prune(&everything, true).unwrap();
    assert_eq!(store.journals().unwrap().len(), 51);
    store.prune(&everything, false).unwrap();
    assert_eq!(store.journals().unwrap(), std::slice::from_ref(&live));
    assert!(store.open_journal(&live).unwrap().unwrap().is_live);
    assert!(!store.remove_journal(&live).unwrap());
    drop(written);
    assert!(!store.open_journal(&live).unwrap().unwrap().is_live);
    assert!(store.remove_journal(&live).unwrap());
    assert!(store.open_journal(&live).unwrap().is_none());
}
