//! Locks on keys, across threads and processes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bld_oci::Digest;
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::{Store, layout};

impl Store {
    /// Waits until nobody else has the lock named `key`, and takes it.
    ///
    /// This is how identical work in flight is done once: lock the key of the work, look again
    /// whether somebody has done it meanwhile, else do it. Blocks the thread; inside an async
    /// runtime call it where blocking is allowed. A process that dies lets go of its locks.
    pub fn lock(&self, key: &str) -> Result<KeyLock> {
        KeyLock::wait(&self.root().join(layout::LOCKS), key)
    }

    /// Takes the lock named `key` if nobody has it.
    pub fn try_lock(&self, key: &str) -> Result<Option<KeyLock>> {
        KeyLock::attempt_file(&file(&self.root().join(layout::LOCKS), key))
    }
}

/// A lock on a key, held until dropped.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct KeyLock {
    path: PathBuf,
    _lock: Lock,
}

impl KeyLock {
    /// As [`Store::lock`], in the directory of lock files.
    pub(crate) fn wait(directory: &Path, key: &str) -> Result<Self> {
        let path = file(directory, key);
        loop {
            if let Some(lock) = Self::take(&path, |fd| Lock::exclusive(fd).map(Some))? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock that is this file, if nobody has it.
    pub(crate) fn attempt_file(path: &Path) -> Result<Option<Self>> {
        Self::take(path, Lock::try_exclusive)
    }

    /// One attempt with `acquire`. `None` also when the file was removed by its last holder
    /// between our opening and our locking it: the lock that was won is then worth nothing.
    fn take(
        path: &Path,
        acquire: impl FnOnce(OwnedFd) -> rustix::io::Result<Option<Lock>>,
    ) -> Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).and_then(acquire);
        let ours = lock.and_then(|lock| match lock {
            Some(lock) if lock.still_named(CWD, path)? => Ok(Some(lock)),
            _ => Ok(None),
        });
        let ours = ours.map_err(|errno| StoreError::io("lock", path, errno))?;
        Ok(ours.map(|lock| Self { path: path.to_owned(), _lock: lock }))
    }
}

/// The lock file of a key, whose name may be anything.
fn file(directory: &Path, key: &str) -> PathBuf {
    directory.join(Digest::of(key.as_bytes()).hex())
}

impl Drop for KeyLock {
    /// The file goes first, while it is still locked: those who wait for it then start afresh.
    fn drop(&mut self) {
        // A file that stays behind is no harm: the next holder of the key removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}
