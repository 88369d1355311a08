//! Space set aside, so that a full disk can be made less full.
//!
//! Removing something writes, too: rows and their log, a session, marks. Without this, the only way
//! out of a full disk would be to remove something else by hand.

use rustix::fs::{FallocateFlags, Mode, OFlags};

use crate::layout;
use crate::root::Root;

/// Bytes set aside: more than the log of one pass takes.
const SIZE: u64 = 2 * 1024 * 1024;

/// Sets space aside, as much as there is.
pub(crate) fn set_aside(root: &Root) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    if let Ok(fd) = rustix::fs::openat(root, layout::RESERVE, flags, Mode::RUSR | Mode::WUSR) {
        let _ = rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, SIZE);
    }
}
