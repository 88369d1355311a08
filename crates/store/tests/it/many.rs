//! Many processes, and many rows.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bld_oci::Digest;
use bld_store::Store;
use rusqlite::params;
use serde_json::Value;

use crate::support::{Place, digest, image, in_flight, names, record, snapshot};

const PLACE: &str = "BLD_STORE_TEST_MANY";

/// Not a test: one of many processes that all do the same work.
#[test]
fn child() {
    let Some(root) = env::var_os(PLACE) else { return };
    work(Path::new(&root), "process");
}

/// Five pieces of work, each of which is done once, by whoever is first.
fn work(root: &Path, kind: &str) {
    let store = Store::open(root).unwrap();
    for n in 0..5 {
        let name = format!("{kind} {n}");
        let definition = digest(&name);
        let _lock = store.lock(&definition.hex()).unwrap();
        if store.find_record(&definition).unwrap().is_none() {
            let made = snapshot(&store, None, &name);
            store.put_record(&record(&name, Some(made))).unwrap();
            let image = image(&store, &name, Some(made));
            store.put_image(&image).unwrap();
            store.tag(&name, &image.id, None).unwrap();
        }
        let add = |state: &mut Value| *state = (state.as_i64().unwrap() + 1).into();
        store.update_container("count", add).unwrap();
    }
}

#[test]
fn sixteen_processes_do_the_work_of_one() {
    let place = Place::new();
    place.open().put_container("count", "count", &0.into()).unwrap();
    let children: Vec<_> = (0..16)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "many::child"])
                .env(PLACE, place.root())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    finished(&place, 16);
}

#[test]
fn sixteen_threads_do_the_work_of_one() {
    let place = Place::new();
    place.open().put_container("count", "count", &0.into()).unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| work(&place.root(), "thread"));
        }
    });
    finished(&place, 16);
}

#[test]
fn sixteen_clones_of_one_handle() {
    let place = Place::new();
    let store = place.open();
    thread::scope(|scope| {
        for n in 0..16 {
            let store = store.clone();
            scope.spawn(move || {
                for m in 0..10 {
                    let made = snapshot(&store, None, "x");
                    store.put_record(&record(&format!("{n} {m}"), Some(made))).unwrap();
                    store.put_blob(&[m; 100]).unwrap();
                }
            });
        }
    });
    assert_eq!(store.find_by_op(&digest("op"), usize::MAX).unwrap().len(), 160);
    assert_eq!(names(place.root().join("blobs/sha256")).len(), 10);
    assert_eq!(store.check().unwrap(), []);
}

fn finished(place: &Place, workers: i64) {
    let store = place.open();
    assert_eq!(store.container("count").unwrap().unwrap().state, 5 * workers);
    assert_eq!(names(place.root().join("snapshots")).len(), 5);
    assert_eq!(store.images().unwrap().len(), 5);
    assert_eq!(store.tags().unwrap().len(), 5);
    assert_eq!(store.check().unwrap(), []);
    drop(store);
    assert!(in_flight(place.root()).is_empty());
}

#[test]
fn sixteen_first_openings() {
    let place = Place::new();
    thread::scope(|scope| {
        for n in 0..16 {
            let place = &place;
            scope.spawn(move || place.open().put("bucket", &n.to_string(), b"").unwrap());
        }
    });
    assert_eq!(place.open().keys("bucket").unwrap().len(), 16);
}

/// Fills tables as the store would in years.
fn fill(place: &Path) {
    let mut db = rusqlite::Connection::open(place.join("db.sqlite")).unwrap();
    let tx = db.transaction().unwrap();
    {
        let mut blob = tx.prepare("INSERT INTO blobs VALUES (?1, 1, 1)").unwrap();
        let mut image = tx
            .prepare("INSERT INTO images VALUES (?1, NULL, 'linux/amd64', x'', ?2, 1, ?2, NULL)")
            .unwrap();
        let mut snapshot = tx
            .prepare("INSERT INTO snapshots (id, parent, created, synced, disk) VALUES (?1, ?2, 1, 1, 4096)")
            .unwrap();
        let mut tag = tx.prepare("INSERT INTO tags VALUES (?1, ?2, 1)").unwrap();
        for n in 0..10_000_i64 {
            let id = digest(&format!("image {n}"));
            snapshot.execute(params![n, (n % 10 > 0).then_some(n - 1)]).unwrap();
            blob.execute(params![id.as_bytes().as_slice()]).unwrap();
            image.execute(params![id.as_bytes().as_slice(), n]).unwrap();
            tag.execute(params![format!("example.org/app{n}:latest"), id.as_bytes().as_slice()])
                .unwrap();
        }
        let mut record = tx
            .prepare("INSERT INTO records VALUES (NULL, ?1, ?2, ?3, ?4, '[]', '{\"argv\":[\"make\"]}', 1, 1, 1)")
            .unwrap();
        for n in 0..100_000_i64 {
            let bytes = |digest: Digest| digest.as_bytes().to_vec();
            record
                .execute(params![
                    bytes(digest(&format!("record {n}"))),
                    bytes(digest(&format!("op {}", n % 1000))),
                    format!("scope {}", n % 1000),
                    n % 10_000
                ])
                .unwrap();
        }
    }
    tx.commit().unwrap();
}

/// Looks a hundred times; each time `found` must be what is found.
fn quick<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, look: impl Fn(i64) -> T) {
    assert_eq!(look(0), *found, "{what}");
    let start = Instant::now();
    for n in 1..=100 {
        assert_eq!(look(n), *found, "{what} {n}");
    }
    let each = start.elapsed() / 100;
    println!("{what}: {each:?}");
    // Reading a table of 100,000 rows from end to end takes more than 10 ms.
    assert!(each < Duration::from_millis(5), "{what} takes {each:?}");
}

#[test]
fn a_large_store_is_as_quick_as_a_small_one() {
    let place = Place::new();
    place.open();
    fill(&place.root());
    let store = place.open();
    let id = |n: i64| digest(&format!("image {}", n * 97 % 10_000));
    let record_of = |n: i64| digest(&format!("record {}", n * 997));
    let op = |n: i64| digest(&format!("op {n}"));
    let name = |n: i64| format!("example.org/app{n}:latest");
    let tip = |n: i64| format!("{:016x}", n * 10 + 9).parse().unwrap();
    quick("find_record", &true, |n| store.find_record(&record_of(n)).unwrap().is_some());
    quick("find_by_op", &8, |n| store.find_by_op(&op(n), 8).unwrap().len());
    quick("find_similar", &8, |n| store.find_similar(&format!("scope {n}"), 8).unwrap().len());
    quick("image", &true, |n| store.image(&id(n)).unwrap().is_some());
    quick("find_by_prefix", &1, |n| store.find_by_prefix(&id(n).short()).unwrap().len());
    quick("resolve", &true, |n| store.resolve(&name(n)).unwrap().is_some());
    quick("tags_of", &1, |n| store.tags_of(&id(n)).unwrap().len());
    quick("layers", &10, |n| store.layers(tip(n)).unwrap().len());
    quick("container", &None, |n| store.container(&n.to_string()).unwrap());
    quick("sync", &(), |_| store.sync().unwrap());
    quick("put_record", &(), |n| store.put_record(&record(&n.to_string(), None)).unwrap());

    assert_eq!(store.images().unwrap().len(), 10_000);
    let start = Instant::now();
    let usage = store.disk_usage().unwrap();
    println!("disk_usage: {:?}", start.elapsed());
    assert_eq!(
        usage.iter().filter(|entry| entry.parents.is_empty() && entry.shared).count(),
        1_000
    );
}
