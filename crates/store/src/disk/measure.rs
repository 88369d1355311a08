//! How much of the disk a tree takes.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

use crate::error;
use crate::root::DIRECTORY;
use crate::store::Inner;
use crate::{SnapshotId, layout, list};

/// The unit of stat(2).
const BLOCK: u64 = 512;

/// What some files take.
#[derive(Debug, Clone, Default)]
pub(super) struct Size {
    /// Bytes of directories, and of files with one name.
    pub(super) own: u64,
    /// Files that have other names, which may lie elsewhere; each once.
    pub(super) linked: Vec<Linked>,
}

/// A file with several names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linked {
    /// Device and inode.
    pub(super) file: (u64, u64),
    /// Bytes.
    pub(super) bytes: u64,
}

impl Size {
    /// Bytes of all of it, as if the other names were nowhere else.
    pub(super) fn bytes(&self) -> u64 {
        self.own + self.linked.iter().map(|linked| linked.bytes).sum::<u64>()
    }

    /// Adds what another has.
    pub(super) fn add(&mut self, other: Self) {
        self.own += other.own;
        self.linked.extend(other.linked);
    }
}

/// What the tree or file `name` in `parent` takes, itself included; nothing if it is not there, and
/// what was seen if it is removed meanwhile.
pub(super) fn tree(parent: impl AsFd, name: impl Arg) -> Result<Size> {
    name.into_with_c_str(|name| {
        let mut count = Count::default();
        match count.tree(parent.as_fd(), name) {
            Ok(()) | Err(Errno::NOENT) => Ok(count.size),
            Err(errno) => Err(errno),
        }
    })
}

/// What the file or directory `name` in `parent` takes, without what is in it.
pub(super) fn one(parent: impl AsFd, name: impl Arg) -> Result<Size> {
    let mut count = Count::default();
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        stat => count.file(&stat?),
    }
    Ok(count.size)
}

/// A file that several may have, whatever number of names it has.
pub(super) fn linked(stat: &Stat) -> Linked {
    let bytes = stat.st_blocks.cast_unsigned() * BLOCK;
    Linked { file: (stat.st_dev, stat.st_ino), bytes }
}

#[derive(Default)]
struct Count {
    size: Size,
    seen: HashSet<(u64, u64)>,
}

impl Count {
    /// Goes down and up again with one descriptor, so that no depth is too much.
    fn tree(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.file(&stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let mut directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
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
            self.file(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                directories.push(name);
            }
        }
        Ok(directories)
    }

    fn file(&mut self, stat: &Stat) {
        let linked = linked(stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory || stat.st_nlink < 2 {
            self.size.own += linked.bytes;
        } else if self.seen.insert(linked.file) {
            self.size.linked.push(linked);
        }
    }
}

impl Inner {
    /// Measures the snapshots that have not been. They do not change, so once is enough.
    pub(crate) fn measure(&self) -> error::Result<()> {
        let unknown = self.column::<SnapshotId>(
            "SELECT id FROM snapshots WHERE disk IS NULL AND container IS NULL",
        )?;
        for id in unknown {
            let name = layout::snapshot(id);
            let size = tree(&self.root, name.as_str())
                .map_err(|errno| self.root.error("measure", &name, errno))?;
            self.db.with(|db| {
                let sql = "UPDATE snapshots SET disk = ?2 WHERE id = ?1";
                Ok(db.prepare_cached(sql)?.execute((id, size.bytes().cast_signed()))?)
            })?;
        }
        Ok(())
    }
}
