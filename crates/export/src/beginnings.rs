//! What the store knows of how layers begin.

use std::cell::OnceCell;

use bld_layer::{Beginnings, FileStamp};
use bld_oci::Digest;
use bld_store::{SnapshotId, StatCache, StatKey, Store, StoreError};

/// The beginnings of layers, as far as the store knows them, for one that is hashed.
pub(crate) struct KnownBeginnings<'a> {
    store: &'a Store,
    layer: SnapshotId,
    /// Read when the first file is asked for.
    files: OnceCell<StatCache>,
    /// What this layer begins with, too.
    found: Vec<(Digest, Vec<u8>)>,
}

impl<'a> KnownBeginnings<'a> {
    pub(crate) fn new(store: &'a Store, layer: SnapshotId) -> Self {
        Self { store, layer, files: OnceCell::new(), found: Vec::new() }
    }

    /// Keeps what was learned for the layers to come.
    pub(crate) fn save(self) -> Result<(), StoreError> {
        self.store.put_beginnings(self.layer, &self.found)
    }
}

impl Beginnings for KnownBeginnings<'_> {
    fn contents(&self, stamp: &FileStamp) -> Option<Digest> {
        let FileStamp { dev, ino, size, mtime_ns, ctime_ns } = *stamp;
        let files = self.files.get_or_init(|| self.store.layer_files(self.layer));
        files.get(&StatKey { dev, ino, size, mtime_ns, ctime_ns })?.contents
    }

    fn get(&mut self, beginning: &Digest) -> Option<Vec<u8>> {
        // What cannot be read is not known.
        let state = self.store.beginning(beginning).ok()??;
        self.found.push((*beginning, state.clone()));
        Some(state)
    }

    fn put(&mut self, beginning: Digest, state: Vec<u8>) {
        self.found.push((beginning, state));
    }
}
