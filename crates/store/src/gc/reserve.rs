//! Space set aside, so that a full disk can be made less full.
//!
//! Removing something writes, too: rows and their log, a session, marks. Without this, the only way
//! out of a full disk would be to remove something else by hand.

use rustix::fs::{FallocateFlags, Mode, OFlags};

use crate::error::{Result, StoreError};
use crate::layout;
use crate::root::Root;

/// Bytes set aside: more than the log of one pass takes.
const SIZE: u64 = 2 * 1024 * 1024;

/// Bytes that whoever opens the database on a full disk gets: the index of its log takes half.
pub(crate) const LOAN: u64 = 64 * 1024;

/// Does `work`; if there is no space for it, again with what was set aside.
pub(crate) fn use_if_needed<T>(root: &Root, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(StoreError::NoSpace { .. }) if root.unlink(layout::RESERVE)? => work(),
        result => result,
    }
}

/// Gives a little of what is set aside away, so that the database can at least be read, as long as
/// most of it stays; whether it did. The next collection makes good for it.
pub(crate) fn lend(root: &Root) -> bool {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let lend = || -> rustix::io::Result<bool> {
        let fd = rustix::fs::openat(root, layout::RESERVE, flags, Mode::empty())?;
        let size = rustix::fs::fstat(&fd)?.st_size.cast_unsigned();
        if size < SIZE / 2 + LOAN {
            return Ok(false);
        }
        rustix::fs::ftruncate(&fd, size - LOAN)?;
        Ok(true)
    };
    lend().unwrap_or(false)
}

/// Sets space aside, unless there is too little.
pub(crate) fn set_aside(root: &Root) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(root, layout::RESERVE, flags, Mode::RUSR | Mode::WUSR) {
        let _ = rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, SIZE);
    }
}
