//! Advisory locks that die with their process, flock(2).
//!
//! A lock belongs to an open file description. All descriptors here are close-on-exec, so no
//! program started by this process carries one on; and two openings of one file exclude each
//! other also inside a process, so threads need no second mechanism.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// Waits for the exclusive lock.
pub(crate) fn exclusive(fd: impl AsFd) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive))
}

/// Takes the exclusive lock if nobody else holds any.
pub(crate) fn try_exclusive(fd: impl AsFd) -> Result<bool> {
    attempt(fd, FlockOperation::NonBlockingLockExclusive)
}

/// Takes a shared lock if nobody holds the exclusive one.
pub(crate) fn try_shared(fd: impl AsFd) -> Result<bool> {
    attempt(fd, FlockOperation::NonBlockingLockShared)
}

/// Turns an exclusive lock into a shared one. Not atomic: see the callers for why no one can
/// come in between to harm.
pub(crate) fn downgrade(fd: impl AsFd) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockShared))
}

fn attempt(fd: impl AsFd, operation: FlockOperation) -> Result<bool> {
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether `name` in `dir` still is the file that is open as `fd`. To be asked after a lock was
/// obtained: until then, whoever held it may have removed the file.
pub(crate) fn still_named(fd: &OwnedFd, dir: impl AsFd, name: impl Arg) -> Result<bool> {
    let here = rustix::fs::fstat(fd)?;
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
