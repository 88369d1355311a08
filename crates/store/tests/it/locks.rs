use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::support::Place;

#[test]
fn one_at_a_time() {
    let place = Place::new();
    let (inside, total) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for n in 0..8 {
            let (place, inside, total) = (&place, &inside, &total);
            scope.spawn(move || {
                let store = place.open();
                for _ in 0..100 {
                    let lock = store.lock("key with any / characters").unwrap();
                    let _other = store.lock(&format!("key {n}")).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    total.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 800);
}

#[test]
fn trying_does_not_wait() {
    let place = Place::new();
    let store = place.open();
    let lock = store.try_lock("key").unwrap().unwrap();
    assert!(store.try_lock("key").unwrap().is_none());
    assert!(place.open().try_lock("key").unwrap().is_none());
    assert!(store.try_lock("other").unwrap().is_some());
    drop(lock);
    assert!(store.try_lock("key").unwrap().is_some());
}
