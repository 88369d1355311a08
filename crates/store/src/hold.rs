//! Holds: how a process says "I use this" so that garbage collection stays away.
//!
//! A hold is a shared lock on the object itself: a snapshot's directory, a blob's file. It
//! costs two system calls and no write, and the kernel lets go of it when the process dies, however
//! it dies. Whoever removes an object takes the exclusive lock first; see `gc.rs`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bld_oci::Digest;

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::store::Inner;
use crate::{SnapshotId, Store, layout};

/// How often to look again while someone has the exclusive lock, and how long in between. Garbage
/// collection has it for moments; a container that runs in its own layer has it for days.
const ATTEMPTS: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(1);

impl Store {
    /// A scope for things in use: what it holds is not removed by anyone before it is dropped.
    ///
    /// What this process makes needs no lease: a new snapshot or blob is held until something
    /// kept builds on it, names it, or the last clone of this [`Store`] is dropped.
    pub fn lease(&self) -> Lease {
        Lease { store: self.clone(), held: Held::default() }
    }
}

/// Objects in use by this process; made by [`Store::lease`].
#[derive(Debug)]
#[must_use = "what is held is let go when this is dropped"]
pub struct Lease {
    store: Store,
    held: Held,
}

impl Lease {
    /// Holds a snapshot and with it all its ancestors; false if it is no longer there.
    ///
    /// Between finding a snapshot in the database and holding it, another process may collect it:
    /// false is to be taken as if it had never been found. Each held snapshot costs one file
    /// descriptor, so hold the tips only.
    ///
    /// # Errors
    /// [`StoreError::SnapshotInUse`] for a container's writable layer that is open.
    pub fn hold(&self, id: SnapshotId) -> Result<bool> {
        self.held.insert_snapshot(id, || self.store.inner().hold_snapshot(id))
    }

    /// Holds a blob; false if it is not there.
    pub fn hold_blob(&self, digest: &Digest) -> Result<bool> {
        self.held.insert_blob(*digest, || self.store.inner().hold_blob(digest))
    }
}

/// A set of holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    snapshots: Mutex<HashMap<SnapshotId, Lock>>,
    blobs: Mutex<HashMap<Digest, Lock>>,
}

impl Held {
    /// Adds the hold that `take` gets, unless there is one.
    pub(crate) fn insert_snapshot(
        &self,
        id: SnapshotId,
        take: impl FnOnce() -> Result<Option<Lock>>,
    ) -> Result<bool> {
        insert(&self.snapshots, id, take)
    }

    /// Adds the hold that `take` gets, unless there is one.
    pub(crate) fn insert_blob(
        &self,
        digest: Digest,
        take: impl FnOnce() -> Result<Option<Lock>>,
    ) -> Result<bool> {
        insert(&self.blobs, digest, take)
    }

    /// Lets go of a snapshot.
    pub(crate) fn release_snapshot(&self, id: SnapshotId) {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Lets go of a blob.
    pub(crate) fn release_blob(&self, digest: &Digest) {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

fn insert<K: Eq + std::hash::Hash>(
    map: &Mutex<HashMap<K, Lock>>,
    key: K,
    take: impl FnOnce() -> Result<Option<Lock>>,
) -> Result<bool> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.contains_key(&key) {
        return Ok(true);
    }
    let hold = take()?;
    let found = hold.is_some();
    map.extend(hold.map(|hold| (key, hold)));
    Ok(found)
}

impl Inner {
    /// Takes a shared lock on a committed snapshot; `None` if there is no such snapshot.
    pub(crate) fn hold_snapshot(&self, id: SnapshotId) -> Result<Option<Lock>> {
        let name = layout::snapshot(id);
        for _ in 0..ATTEMPTS {
            let Some(fd) = self.root.open_dir(&name)? else { return Ok(None) };
            let hold = self.share(fd, &name)?;
            // In the middle of being made or removed there is no row; nor where somebody has died
            // between taking it away and removing the directory, which can be locked then.
            if !self.has_row(id)? {
                return Ok(None);
            }
            if hold.is_some() {
                return Ok(hold);
            }
            thread::sleep(PAUSE);
        }
        Err(StoreError::SnapshotInUse { id })
    }

    /// Takes a shared lock on a blob's file; `None` if there is none.
    pub(crate) fn hold_blob(&self, digest: &Digest) -> Result<Option<Lock>> {
        let name = layout::blob(digest);
        for _ in 0..ATTEMPTS {
            let Some(fd) = self.root.open_file(&name)? else { return Ok(None) };
            if let hold @ Some(_) = self.share(fd, &name)? {
                return Ok(hold);
            }
            thread::sleep(PAUSE);
        }
        Ok(None) // being removed by someone who is in no hurry
    }

    /// Locks `fd`, which was opened as `name`; `None` if someone has it or it is gone.
    fn share(&self, fd: OwnedFd, name: &str) -> Result<Option<Lock>> {
        let lock = Lock::try_shared(fd).and_then(|lock| match lock {
            Some(lock) if lock.still_named(&self.root, name)? => Ok(Some(lock)),
            _ => Ok(None),
        });
        lock.map_err(|errno| self.root.error("lock", name, errno))
    }
}
