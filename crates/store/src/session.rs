//! Sessions: everything a process has in flight, in one directory of its own.
//!
//! `tmp/<session>/` is locked exclusively for as long as its [`Store`](crate::Store) lives. It has
//! blobs being written, trees being removed, work directories for overlay mounts, and *marks*: a
//! file `snapshot-<id>` says that `snapshots/<id>` is being made or removed, so that without a row
//! in the database it is rubbish.
//!
//! Making and removing inodes is what takes time (on ext4 up to a millisecond each), so a mark is
//! one more name of a file that is there, and work directories are used again.
//! A session directory that can be locked belongs to nobody any more: see `sweep.rs`.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::Result;
use crate::flock::Lock;
use crate::root::{DIRECTORY, Root};
use crate::{SnapshotId, layout, list, remove};

/// Prefix of the marks.
const MARK: &str = "snapshot-";

/// One session, locked by this process.
#[derive(Debug)]
pub(crate) struct Session {
    /// Relative to the root.
    name: String,
    sessions: OwnedFd,
    lock: Lock,
    next: AtomicU64,
    /// Names of work directories that nobody uses.
    idle: Mutex<Vec<String>>,
}

impl Session {
    /// Starts a session.
    pub(crate) fn start(root: &Root) -> Result<Self> {
        let sessions = root
            .open_dir(layout::SESSIONS)?
            .ok_or_else(|| root.error("open", layout::SESSIONS, Errno::NOENT))?;
        loop {
            let mut random = [0; 8];
            getrandom(&mut random, GetRandomFlags::empty())
                .map_err(|errno| root.error("name", layout::SESSIONS, errno))?;
            let name = format!("{:016x}", u64::from_ne_bytes(random));
            let locked = lock_new(&sessions, &name).map_err(|errno| {
                root.error("create", format!("{}/{name}", layout::SESSIONS), errno)
            })?;
            if let Some(lock) = locked {
                return Ok(Self {
                    name,
                    sessions,
                    lock,
                    next: AtomicU64::new(0),
                    idle: Mutex::default(),
                });
            }
        }
    }

    /// A name for a new temporary file in the session's directory.
    pub(crate) fn temporary(&self, kind: &str) -> String {
        format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The path of one of the session's files, relative to the root.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{}/{name}", layout::SESSIONS, self.name)
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
    /// session. It may have been used: overlayfs cleans it up when it is mounted.
    pub(crate) fn take_work(&self, root: &Root) -> Result<String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(name) = idle {
            return Ok(name);
        }
        let name = self.temporary("work");
        rustix::fs::mkdirat(&self.lock, &name, Mode::RWXU)
            .map_err(|errno| root.error("create", self.path(&name), errno))?;
        Ok(name)
    }

    /// Gives a work directory back. Nothing may be mounted with it any more.
    pub(crate) fn return_work(&self, name: String) {
        // What a mount with the option "volatile" leaves to forbid the next one.
        if remove::tree(&self.lock, format!("{name}/work/incompat")).is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        }
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
        // Work directories, and what could not be removed before. A mark needs the database.
        for name in list::names(&self.lock).unwrap_or_default() {
            if !name.to_str().is_ok_and(|name| marked(name).is_some()) {
                let _ = remove::tree(&self.lock, &name);
            }
        }
        // Not empty only when something could not be removed; the next sweep tries again.
        let _ = rustix::fs::unlinkat(&self.sessions, &self.name, AtFlags::REMOVEDIR);
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
    let lock = Lock::exclusive(fd)?;
    Ok(lock.still_named(sessions, name)?.then_some(lock))
}

/// The snapshot that a file of a session marks, if it is a mark.
pub(crate) fn marked(name: &str) -> Option<SnapshotId> {
    name.strip_prefix(MARK)?.parse().ok()
}
