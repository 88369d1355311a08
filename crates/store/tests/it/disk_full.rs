//! A file system of one megabyte. It is mounted in a mount namespace of its own, so that nothing of
//! it is left whatever happens.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use bld_store::{ImageRecord, SnapshotId, Store, StoreError};

use crate::support::{clear, cut_power, digest, names, record, snapshot, snapshots_of};

const PLACE: &str = "BLD_STORE_TEST_FULL";

/// Runs the test `name` again, alone in a mount namespace, with `size` in the options of a tmpfs.
fn inside(name: &str, size: &str) {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"",
        ])
        .args(["sh", size])
        .arg(place.path())
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PLACE, place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Where the small file system is, when inside.
fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

/// Takes all the space there is.
fn fill(place: &Path) -> PathBuf {
    let path = place.join("filler");
    let mut file = fs::File::options().append(true).create(true).open(&path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

#[track_caller]
fn no_space<T>(result: Result<T, StoreError>) {
    match result {
        Err(StoreError::NoSpace { .. }) => {}
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("there was space"),
    }
}

#[test]
fn files() {
    let Some(place) = place() else { return inside("disk_full::files", "size=1m") };
    let store = Store::open(&place.join("store")).unwrap();
    let kept = store.put_blob(b"kept").unwrap();
    let filler = fill(&place);
    no_space(store.put_blob(&vec![1; 100_000]));
    let mut writer = store.blob_writer().unwrap();
    let error = io::copy(&mut io::repeat(2), &mut writer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(writer);
    // What fits in a buffer fails when it leaves it.
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(&[3; 10_000]).unwrap();
    no_space(writer.commit(None));

    let session = place.join("store/tmp").join(&names(place.join("store/tmp"))[0]);
    assert!(names(session).is_empty());
    assert_eq!(names(place.join("store/blobs/sha256")), [kept.hex()]);
    fs::remove_file(filler).unwrap();
    store.put_blob(&vec![1; 100_000]).unwrap();
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn the_database() {
    let Some(place) = place() else { return inside("disk_full::the_database", "size=1m") };
    let store = Store::open(&place.join("store")).unwrap();
    let made = snapshot(&store, None, "made");
    store.put_record(&record("before", Some(made))).unwrap();
    let filler = fill(&place);
    let large = "x".repeat(20_000);
    let failed =
        (0..100).find_map(|n| store.put_record(&record(&format!("{n} {large}"), None)).err());
    no_space(failed.map_or(Ok(()), Err));
    assert!(store.find_record(&digest("before")).unwrap().is_some());

    fs::remove_file(filler).unwrap();
    store.put_record(&record("after", Some(made))).unwrap();
    drop(store);
    let store = Store::open(&place.join("store")).unwrap();
    assert!(store.find_record(&digest("after")).unwrap().is_some());
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn directories() {
    let Some(place) = place() else {
        return inside("disk_full::directories", "size=1m,nr_inodes=60");
    };
    let store = Store::open(&place.join("store")).unwrap();
    snapshot(&store, None, "first");
    let mut active = Vec::new();
    let failed = (0..60).find_map(|_| store.prepare(None).map(|one| active.push(one)).err());
    no_space(failed.map_or(Ok(()), Err));
    drop(active);
    snapshot(&store, None, "second");
    assert_eq!(store.check().unwrap(), []);
}

#[test]
fn nothing_at_all() {
    let Some(place) = place() else { return inside("disk_full::nothing_at_all", "size=64k") };
    let filler = fill(&place);
    no_space(Store::open(&place.join("store")));
    fs::remove_file(filler).unwrap();
    no_space(Store::open(&place.join("store")).and_then(|store| {
        (0..1000).try_for_each(|n| store.put_record(&record(&format!("{n}"), None)))
    }));
}

#[test]
fn whatever_is_left() {
    let Some(place) = place() else { return inside("disk_full::whatever_is_left", "size=1m") };
    for pages in 0..60 {
        let root = place.join(format!("store{pages}"));
        let filler = fill(&place);
        let file = fs::File::options().write(true).open(&filler).unwrap();
        file.set_len(file.metadata().unwrap().len() - pages * 4096).unwrap();
        drop(file);
        let result = Store::open(&root).and_then(|store| {
            let made = store.prepare(None)?.commit()?;
            store.put_record(&record("record", Some(made)))?;
            let id = store.put_blob(b"config")?;
            store.put_image(&ImageRecord { id, ..image_of(made) })
        });
        if result.is_err() {
            no_space(result);
        }
        fs::remove_file(filler).unwrap();
        let _ = fs::remove_file(root.join("reserve"));
        assert_eq!(Store::open(&root).unwrap().check().unwrap(), []);
        fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn a_full_disk_can_be_read() {
    let Some(place) = place() else {
        return inside("disk_full::a_full_disk_can_be_read", "size=8m");
    };
    let root = place.join("store");
    let store = Store::open(&root).unwrap();
    store.put_record(&record("kept", None)).unwrap();
    store.sync().unwrap();
    drop(store);
    // As if another process had taken the space of the index of the log.
    fs::remove_file(root.join("db.sqlite-shm")).unwrap();
    fill(&place);
    let store = Store::open(&root).unwrap();
    assert!(store.find_record(&digest("kept")).unwrap().is_some());
    assert_eq!(store.check().unwrap(), []);
}

fn image_of(snapshot: SnapshotId) -> ImageRecord {
    ImageRecord {
        id: digest(""),
        manifest: None,
        platform: String::new(),
        layers: Vec::new(),
        created: SystemTime::UNIX_EPOCH,
        size: 0,
        snapshot: Some(snapshot),
    }
}

#[test]
fn a_full_disk_can_be_made_less_full() {
    let Some(place) = place() else {
        return inside("disk_full::a_full_disk_can_be_made_less_full", "size=8m");
    };
    let root = place.join("store");
    let store = Store::open(&root).unwrap();
    for n in 0..200 {
        let made = snapshot(&store, None, &"x".repeat(10_000));
        store.put_record(&record(&n.to_string(), Some(made))).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    fill(&place);
    // Even if the first thing to do is to recover.
    cut_power(&root);
    let store = Store::open(&root).unwrap();
    fill(&place);
    no_space(store.put_record(&record("more", None)).and_then(|()| store.put_blob(b"more")));
    assert_eq!(snapshots_of(&clear(&store)).len(), 200);
    store.put_blob(b"more").unwrap();
    assert_eq!(store.check().unwrap(), []);
    assert_eq!(fs::metadata(root.join("reserve")).unwrap().len(), 2 << 20);
}
