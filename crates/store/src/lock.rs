//! Locks on keys, across threads and processes.
//!
//! All of them are in one file that nobody reads or writes: a key is a position in it, and its lock
//! an open file description lock on that byte, fcntl(2). So nothing is made or removed per key
//! (which takes most file systems a hundred times as long as the lock itself), and nothing is left
//! by a process that dies.

use std::os::fd::OwnedFd;

use bld_oci::Digest;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::io::Errno;

use crate::error::Result;
use crate::root::Root;
use crate::{Store, layout};

impl Store {
    /// Waits until nobody else has the lock named `key`, and takes it.
    ///
    /// This is how identical work in flight is done once: lock the key of the work, look again
    /// whether somebody has done it meanwhile, else do it. Blocks the thread; inside an async
    /// runtime call it where blocking is allowed. A process that dies lets go of its locks.
    pub fn lock(&self, key: &str) -> Result<KeyLock> {
        KeyLock::wait(&self.inner().root, key)
    }

    /// Takes the lock named `key` if nobody has it.
    pub fn try_lock(&self, key: &str) -> Result<Option<KeyLock>> {
        let root = &self.inner().root;
        let lock = KeyLock::open(root, key)?;
        match fcntl(&lock.file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, lock.position))) {
            Ok(_) => Ok(Some(lock)),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
            Err(error) => Err(root.error("lock", layout::LOCKS, errno(error))),
        }
    }
}

/// A lock on a key, held until dropped.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct KeyLock {
    /// An opening of its own, since that is what has the lock.
    file: OwnedFd,
    position: i64,
}

impl KeyLock {
    /// As [`Store::lock`].
    pub(crate) fn wait(root: &Root, key: &str) -> Result<Self> {
        let lock = Self::open(root, key)?;
        loop {
            match fcntl(&lock.file, FcntlArg::F_OFD_SETLKW(&range(libc::F_WRLCK, lock.position))) {
                Ok(_) => return Ok(lock),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(root.error("lock", layout::LOCKS, errno(error))),
            }
        }
    }

    /// Not locked yet.
    fn open(root: &Root, key: &str) -> Result<Self> {
        let file = root.open_lock_file(layout::LOCKS)?;
        Ok(Self { file, position: position(key) })
    }
}

impl Drop for KeyLock {
    /// Closing would do, but for a child that has not become another program yet.
    fn drop(&mut self) {
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, self.position)));
    }
}

/// The byte that stands for a key. Two keys in 2^62 that share one wait for each other needlessly.
fn position(key: &str) -> i64 {
    let digest = Digest::of(key.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_be_bytes(bytes) >> 2).cast_signed()
}

/// One byte of the file, to be locked (`F_WRLCK`) or let go (`F_UNLCK`).
fn range(kind: libc::c_int, position: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: position,
        l_len: 1,
        l_pid: 0,
    }
}

fn errno(error: nix::Error) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
