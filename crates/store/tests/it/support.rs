//! A store in a directory of its own, and short ways to fill it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bld_oci::Digest;
use bld_store::{GcPolicy, ImageRecord, PruneRule, Pruned, Record, SnapshotId, Store};
use serde_json::json;
use tempfile::TempDir;

/// A directory that is gone after the test.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    /// In memory if possible: a sync of a disk waits for whatever else is going on there.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            Self { directory: tempfile::tempdir_in(memory).unwrap() }
        } else {
            Self::on_disk()
        }
    }

    /// Where temporary files are.
    pub(crate) fn on_disk() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.root()).unwrap()
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What is in sessions of the store at `root`, but for work directories, which stay.
pub(crate) fn in_flight(root: impl AsRef<Path>) -> Vec<String> {
    let sessions = root.as_ref().join("tmp");
    let all = names(&sessions).into_iter().flat_map(|session| names(sessions.join(session)));
    all.filter(|name| !name.starts_with("work-")).collect()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// A committed snapshot with one file.
pub(crate) fn snapshot(store: &Store, parent: Option<SnapshotId>, text: &str) -> SnapshotId {
    let active = store.prepare(parent).unwrap();
    fs::write(active.upper().join("file"), text).unwrap();
    active.commit().unwrap()
}

pub(crate) fn record(name: &str, snapshot: Option<SnapshotId>) -> Record {
    Record {
        definition: digest(name),
        op: digest("op"),
        scope: "Dockerfile".to_owned(),
        snapshot,
        inputs: Vec::new(),
        fields: json!({ "name": name }),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
    }
}

/// An image of one snapshot; its config is a blob of the store.
pub(crate) fn image(store: &Store, name: &str, snapshot: Option<SnapshotId>) -> ImageRecord {
    ImageRecord {
        id: store.put_blob(name.as_bytes()).unwrap(),
        manifest: None,
        platform: "linux/amd64".to_owned(),
        layers: vec![digest("layer of "), digest(name)],
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        size: 5,
        snapshot,
    }
}

/// Gives up all that can be given up: the whole cache, and images without a name.
pub(crate) fn clear(store: &Store) -> Pruned {
    store.gc(&GcPolicy { dangling_images: true, ..GcPolicy::default() }).unwrap();
    store.prune(&[PruneRule { all: true, ..PruneRule::default() }], false).unwrap()
}

/// The snapshots among what was given up.
pub(crate) fn snapshots_of(pruned: &Pruned) -> Vec<SnapshotId> {
    let mut ids: Vec<_> = pruned.entries.iter().filter_map(|entry| entry.id.parse().ok()).collect();
    ids.sort();
    ids
}

/// What a power cut leaves: the store as it lies on disk, and another boot at the next opening.
/// Everything of the page cache is still there, so tests tear what could be torn themselves.
pub(crate) fn cut_power(root: &Path) {
    fs::write(root.join("epoch"), "00000000-0000-0000-0000-000000000000\n").unwrap();
}
