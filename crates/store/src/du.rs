//! How much of the disk a tree takes.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use crate::list;
use crate::root::DIRECTORY;

/// Bytes of disk that the tree `name` in `parent` takes, itself included; nothing if it is not
/// there. A file with several names counts once. Goes down and up again with one descriptor, so
/// that no depth is too much.
pub(crate) fn tree(parent: impl AsFd, name: &str) -> Result<u64> {
    let mut directory = match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        result => result?,
    };
    let mut count =
        Count { blocks: rustix::fs::fstat(&directory)?.st_blocks, seen: HashSet::new() };
    let mut line = vec![count.contents(&directory)?];
    while let Some(children) = line.last_mut() {
        if let Some(child) = children.pop() {
            match rustix::fs::openat(&directory, child, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue, // a container is at work
                result => directory = result?,
            }
            line.push(count.contents(&directory)?);
        } else {
            line.pop();
            if !line.is_empty() {
                directory = rustix::fs::openat(
                    &directory,
                    "..",
                    DIRECTORY - OFlags::NOFOLLOW,
                    Mode::empty(),
                )?;
            }
        }
    }
    Ok(count.blocks.cast_unsigned() * 512)
}

struct Count {
    /// In units of 512 bytes, as stat(2) has them.
    blocks: i64,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
}

impl Count {
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
