//! Processes that are killed at any instant, and what the others find.

use std::env;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::panic;
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bld_store::{GcPolicy, LayerBlob, PruneRule, Record, Store, StoreError};
use serde_json::json;

use crate::support::{Place, clear, digest, image, names, record, snapshot};

/// Tells the child, which is this program again, where to work.
const ROOT: &str = "BLD_STORE_TEST_CRASH_ROOT";

/// Not a test: what the children do until they are killed.
#[test]
fn child() {
    let Some(root) = env::var_os(ROOT) else { return };
    // Not by and by, so that being killed does not hide it.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::abort();
    }));
    loop {
        let store = Store::open(Path::new(&root)).unwrap();
        for _ in 0..5 {
            work(&store);
        }
    }
}

/// A bit of everything, in an order that differs.
fn work(store: &Store) {
    let name = random(1 << 40).to_string();
    match random(8) {
        0..=2 => build(store, &name),
        3 => {
            let mut writer = store.blob_writer().unwrap();
            writer.write_all(name.repeat(1000).as_bytes()).unwrap();
            let (blob, size) = writer.commit(None).unwrap();
            let layer = LayerBlob { digest: blob, size, media_type: "tar".to_owned() };
            store.set_layer_blob(&digest(&name), "none", &layer).unwrap();
        }
        4 => {
            let active = store.prepare(None).unwrap();
            fs::create_dir_all(active.upper().join("a/b/c")).unwrap();
            fs::write(active.upper().join("a/b/c/file"), &name).unwrap();
        }
        5 => {
            let layer = store.prepare(None).unwrap().keep(&name);
            match store.put_container(&name, &name, &json!({ "name": name })) {
                Ok(()) => fs::write(layer.unwrap().upper().join("file"), &name).unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        6 => {
            for container in store.containers().unwrap().into_iter().take(2) {
                match store.delete_container(&container.id) {
                    Ok(_) | Err(StoreError::SnapshotInUse { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        _ => {
            store.gc(&GcPolicy { dangling_images: true, ..GcPolicy::default() }).unwrap();
            let reserved = Some(random(3) * 20_000);
            store.prune(&[PruneRule { reserved, ..PruneRule::default() }], false).unwrap();
        }
    }
}

/// Two steps and an image, each recorded under what its file says.
fn build(store: &Store, name: &str) {
    let _lock = store.lock(name).unwrap();
    let mut parent = None;
    for step in ["first", "second"] {
        let text = format!("{name} {step}");
        let made = snapshot(store, parent, &text);
        store.set_diff_id(made, &digest(&text), 1).unwrap();
        store.put_record(&record(&text, Some(made))).unwrap();
        parent = Some(made);
    }
    let image = image(store, name, parent);
    store.put_image(&image).unwrap();
    store.tag(&format!("tag-{}", random(4)), &image.id, None).unwrap();
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

/// A child that is gone after the test.
struct Worker(Child);

impl Worker {
    fn start(root: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture"])
            .env(ROOT, root)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Kills it, unless it failed by itself before.
    fn kill(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "a worker ended by itself: {status}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_at_any_instant() {
    let place = Place::new();
    let root = place.root();
    // What a live process holds, made in every way there is.
    let live = place.open();
    let made = snapshot(&live, None, "made");
    let active = live.prepare(Some(made)).unwrap();
    fs::write(active.upper().join("file"), "active").unwrap();
    let blob = live.put_blob(b"just written").unwrap();
    let mut writer = live.blob_writer().unwrap();
    writer.write_all(b"still being written").unwrap();

    for _ in 0..25 {
        let workers: Vec<Worker> = (0..3).map(|_| Worker::start(&root)).collect();
        for worker in workers {
            thread::sleep(Duration::from_micros(random(60_000)));
            worker.kill();
        }
        let store = place.open();
        assert_eq!(store.check().unwrap(), []);
        let sessions = names(root.join("tmp")).len();
        assert_eq!(sessions, 2, "the session of the live process, and one to be used again");
        everything_named_is_whole(&store);
    }
    assert!(!place.open().images().unwrap().is_empty(), "the workers did nothing");

    assert_eq!(live.read_blob(&blob).unwrap(), b"just written");
    assert_eq!(writer.commit(None).unwrap().0, digest("still being written"));
    let top = active.commit().unwrap();
    let layers = live.layers(top).unwrap();
    assert_eq!(fs::read_to_string(layers[0].join("file")).unwrap(), "made");
    assert_eq!(fs::read_to_string(layers[1].join("file")).unwrap(), "active");
    drop(live);
    // With nothing kept, nothing stays.
    let store = place.open();
    for image in store.images().unwrap() {
        store.delete_image(&image.id).unwrap();
    }
    for container in store.containers().unwrap() {
        store.delete_container(&container.id).unwrap();
    }
    clear(&store);
    assert!(names(root.join("snapshots")).is_empty());
    assert!(names(root.join("blobs/sha256")).is_empty());
}

fn everything_named_is_whole(store: &Store) {
    let whole = |record: &Record| {
        let text = record.fields["name"].as_str().unwrap();
        let upper = store.layers(record.snapshot.unwrap()).unwrap().pop().unwrap();
        assert_eq!(fs::read_to_string(upper.join("file")).unwrap(), text);
    };
    let records = store.find_by_op(&digest("op"), usize::MAX).unwrap();
    records.iter().for_each(whole);
    for image in store.images().unwrap() {
        let name = store.read_blob(&image.id).unwrap();
        let upper = store.layers(image.snapshot.unwrap()).unwrap().pop().unwrap();
        let text = fs::read_to_string(upper.join("file")).unwrap();
        assert_eq!(text, format!("{} second", String::from_utf8(name).unwrap()));
        assert_eq!(image.layers.len(), 2);
    }
    for container in store.containers().unwrap() {
        assert!(container.layer.is_some(), "{} was kept before it was put", container.id);
        store.container_layer(&container.id).unwrap();
    }
}
