//! How much of the disk a tree takes.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::{Errno, Result};

use crate::list;
use crate::root::DIRECTORY;

/// Bytes of disk that the tree `name` in `parent` takes, itself included; nothing if it is not
/// there, and what was seen if it is removed meanwhile. A file with several names counts once.
pub(crate) fn tree(parent: impl AsFd, name: &str) -> Result<u64> {
    let mut count = Count { blocks: 0, seen: HashSet::new() };
    match count.tree(parent.as_fd(), name) {
        Ok(()) | Err(Errno::NOENT) => Ok(count.blocks.cast_unsigned() * 512),
        Err(errno) => Err(errno),
    }
}

struct Count {
    /// In units of 512 bytes, as stat(2) has them.
    blocks: i64,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
}

impl Count {
    /// Goes down and up again with one descriptor, so that no depth is too much.
    fn tree(&mut self, parent: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
        self.blocks += rustix::fs::fstat(&directory)?.st_blocks;
        let mut line = vec![self.contents(&directory)?];
        while let Some(children) = line.last_mut() {
            if let Some(child) = children.pop() {
                match rustix::fs::openat(&directory, child, DIRECTORY, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR) => continue, // a container is at work
                    result => directory = result?,
                }
                line.push(self.contents(&directory)?);
            } else {
                line.pop();
                if !line.is_empty() {
                    directory = rustix::fs::openat(&directory, "..", DIRECTORY, Mode::empty())?;
                }
            }
        }
        Ok(())
    }

    /// Counts what is in `directory`; returns the names of its directories.
    fn contents(&mut self, directory: impl AsFd) -> Result<Vec<CString>> {
        let mut directories = Vec::new();
        for name in list::names(&directory)? {
            let stat = match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                result => result?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                directories.push(name);
            } else if stat.st_nlink > 1 && !self.seen.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            self.blocks += stat.st_blocks;
        }
        Ok(directories)
    }
}
