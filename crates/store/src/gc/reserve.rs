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

/// Does `work`; if there is no space for it, again with what was set aside.
pub(crate) fn use_if_needed<T>(root: &Root, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(StoreError::NoSpace { .. }) if root.unlink(layout::RESERVE)? => work(),
        result => result,
    }
}

/// Sets space aside, unless there is too little.
pub(crate) fn set_aside(root: &Root) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(root, layout::RESERVE, flags, Mode::RUSR | Mode::WUSR) {
        let _ = rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, SIZE);
    }
}
