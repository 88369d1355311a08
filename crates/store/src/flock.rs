//! Advisory locks that die with their process, flock(2).
//!
//! A lock belongs to an open file description, so two openings of one file exclude each other also
//! inside a process, and threads need no second mechanism. A child between fork and exec shares the
//! description: it keeps the lock should the parent just be killed, but only until it has become
//! another program, since all descriptors here are close-on-exec.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// A locked file or directory.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Lock {
    /// Waits for the exclusive lock.
    pub(crate) fn exclusive(fd: OwnedFd) -> Result<Self> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive))?;
        Ok(Self(fd))
    }

    /// Takes the exclusive lock if nobody else has any.
    pub(crate) fn try_exclusive(fd: OwnedFd) -> Result<Option<Self>> {
        Self::attempt(fd, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes a shared lock if nobody has the exclusive one.
    pub(crate) fn try_shared(fd: OwnedFd) -> Result<Option<Self>> {
        Self::attempt(fd, FlockOperation::NonBlockingLockShared)
    }

    fn attempt(fd: OwnedFd, operation: FlockOperation) -> Result<Option<Self>> {
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
            Ok(()) => Ok(Some(Self(fd))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Turns an exclusive lock into a shared one. Not atomic: somebody may have the exclusive lock
    /// in between.
    pub(crate) fn downgrade(&self) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.0, FlockOperation::LockShared))
    }

    /// Lets go of the lock, also where the descriptor was duplicated.
    pub(crate) fn unlock(self) -> Result<()> {
        rustix::fs::flock(&self.0, FlockOperation::Unlock)
    }

    /// Whether `name` in `dir` still is the file that is locked. To be asked when a lock has been
    /// won: whoever had it before may have removed the file.
    pub(crate) fn still_named(&self, dir: impl AsFd, name: impl Arg) -> Result<bool> {
        let here = rustix::fs::fstat(&self.0)?;
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Length of the file in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_size.cast_unsigned())
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Lock {
    /// Closing would do, but for a child that has not become another program yet.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}
