//! Sessions: everything a process has in flight, in one directory of its own.
//!
//! `tmp/<session>/` is locked exclusively for as long as its [`Store`](crate::Store) lives. It has
//! blobs being written, trees being removed, work directories for overlay mounts, and *marks*: a
//! file `snapshot-<id>` says that `snapshots/<id>` is being made or removed, so that without a row
//! in the database it is rubbish.
//!
//! Making and removing inodes is what takes time (on ext4 up to a millisecond each, and without a
//! journal several for a directory), so a mark is one more name of a file that is there, work
//! directories are used again, what the kernel has left in them is removed [on the side](crate::work),
//! and a session that ends in order stays: the next process takes it over.
//! A session directory that can be locked belongs to nobody any more: see `sweep.rs`.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::Result;
use crate::flock::Lock;
use crate::root::{DIRECTORY, Root};
use crate::work::{self, WorkDirectories};
use crate::{SnapshotId, layout, list, remove};

/// Prefix of the marks.
const MARK: &str = "snapshot-";

/// One session, locked by this process.
#[derive(Debug)]
pub(crate) struct Session {
    /// Relative to the root.
    name: String,
    lock: Lock,
    next: AtomicU64,
    work: WorkDirectories,
}

/// A session that has ended, locked by this process, which may make it its own.
#[derive(Debug)]
pub(crate) struct Abandoned {
    /// In the directory of sessions.
    name: String,
    lock: Lock,
}

impl Session {
    /// Starts a session, in the place of one that has ended if there is one.
    pub(crate) fn start(root: &Root, abandoned: Option<Abandoned>) -> Result<Self> {
        let Abandoned { name, lock } = abandoned.map_or_else(|| make(root), Ok)?;
        let error = |errno| root.error("list", layout::SESSIONS, errno);
        let work = list::names(&lock).and_then(|names| WorkDirectories::new(&lock, &names));
        Ok(Self {
            work: work.map_err(error)?,
            name: format!("{}/{name}", layout::SESSIONS),
            lock,
            next: AtomicU64::new(0),
        })
    }

    /// A name for a new temporary file in the session's directory.
    pub(crate) fn temporary(&self, kind: &str) -> String {
        format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The path of one of the session's files, relative to the root.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// Says that `snapshots/<id>` counts for nothing without a row.
    pub(crate) fn mark(&self, root: &Root, id: SnapshotId) -> Result<()> {
        let name = format!("{MARK}{id}");
        match rustix::fs::linkat(root, layout::EPOCH, &self.lock, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(root.error("create", self.path(&name), errno)),
        }
    }

    /// Takes the mark back.
    pub(crate) fn unmark(&self, id: SnapshotId) {
        // A mark that stays makes a sweep look at the database, nothing else.
        let _ = rustix::fs::unlinkat(&self.lock, format!("{MARK}{id}"), AtFlags::empty());
    }

    /// A work directory for an overlay mount, to be [returned](Self::return_work). Relative to the
    /// session.
    pub(crate) fn take_work(&self, root: &Root) -> Result<String> {
        self.work
            .take(&self.lock)
            .map_err(|errno| root.error("create", self.path("a work directory"), errno))
    }

    /// Gives a work directory back. Nothing may be mounted with it any more.
    pub(crate) fn return_work(&self, name: String) {
        self.work.give_back(name);
    }

    /// Removes the tree `name` (relative to the root) out of everybody's sight at once, then
    /// piece by piece. It is gone for everyone else when this returns, even with an error.
    pub(crate) fn discard(&self, root: &Root, name: &str) -> Result<()> {
        let trash = self.temporary("trash");
        match remove::rename(root, name, &self.lock, &trash) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(root.error("rename", name, errno)),
        }
        remove::tree(&self.lock, &trash)
            .map_err(|errno| root.error("remove", self.path(&trash), errno))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.work.close();
        // What could not be removed before. A mark needs the database: the next sweep sees to it.
        for name in list::names(&self.lock).unwrap_or_default() {
            if !name.to_str().is_ok_and(|name| marked(name).is_some() || work::is_work(name)) {
                let _ = remove::tree(&self.lock, &name);
            }
        }
    }
}

impl Abandoned {
    /// The session `name`, in which nothing is that anybody needs; emptied, but for work directories.
    pub(crate) fn tidy(lock: Lock, name: &str) -> rustix::io::Result<Self> {
        for inside in list::names(&lock)? {
            if !inside.to_str().is_ok_and(work::is_work) {
                remove::tree(&lock, &inside)?;
            }
        }
        Ok(Self { name: name.to_owned(), lock })
    }
}

/// Makes a session directory that nobody has.
fn make(root: &Root) -> Result<Abandoned> {
    let sessions = root
        .open_dir(layout::SESSIONS)?
        .ok_or_else(|| root.error("open", layout::SESSIONS, Errno::NOENT))?;
    loop {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())
            .map_err(|errno| root.error("name", layout::SESSIONS, errno))?;
        let name = format!("{:016x}", u64::from_ne_bytes(random));
        let locked = lock_new(&sessions, &name)
            .map_err(|errno| root.error("create", format!("{}/{name}", layout::SESSIONS), errno))?;
        if let Some(lock) = locked {
            return Ok(Abandoned { name, lock });
        }
    }
}

/// Makes and locks a session directory; `None` if a sweep took it for a dead one in between.
fn lock_new(sessions: &OwnedFd, name: &str) -> rustix::io::Result<Option<Lock>> {
    match rustix::fs::mkdirat(sessions, name, Mode::RWXU) {
        Err(Errno::EXIST) => return Ok(None),
        result => result?,
    }
    let fd = match rustix::fs::openat(sessions, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        result => result?,
    };
    let Some(lock) = Lock::try_exclusive(fd)? else { return Ok(None) };
    Ok(lock.still_named(sessions, name)?.then_some(lock))
}

/// The snapshot that a file of a session marks, if it is a mark.
pub(crate) fn marked(name: &str) -> Option<SnapshotId> {
    name.strip_prefix(MARK)?.parse().ok()
}
