//! The store's root directory: every path of the crate is resolved beneath its descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use crate::error::{Result, StoreError};

/// Flags of every directory that is opened: listed and locked, never followed to.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open root directory. Names given to its methods are relative to it.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory, made first if need be (with its parents).
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Overlay mounts and processes with another working directory are given these paths.
        let path = std::path::absolute(path).map_err(|e| StoreError::io("resolve", path, e))?;
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let fd = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                create(&path)?;
                rustix::fs::open(&path, flags, Mode::empty())
            }
            result => result,
        };
        let fd = fd.map_err(|e| StoreError::io("open", &path, e))?;
        Ok(Self { path, fd })
    }

    /// The absolute path of the root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of `name`.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory unless it is there.
    pub(crate) fn ensure_dir(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.error("create", name, errno)),
        }
    }

    /// Says that the directories in `name` have nothing to do with one another, so that ext4 keeps
    /// each in a part of the disk of its own instead of all in one.
    ///
    /// ext4 does not reuse an inode in the minute after it was freed, and a search for a free one
    /// tries them one by one: with a few thousand snapshot files removed a moment ago nearby, making
    /// a file takes half a millisecond. Other filesystems don't know the flag.
    pub(crate) fn scatter(&self, name: &str) -> Result<()> {
        let Some(dir) = self.open_dir(name)? else { return Ok(()) };
        // Speed is all that is lost without it.
        let flags = ioctl_getflags(&dir);
        let _ = flags.and_then(|flags| ioctl_setflags(&dir, flags | IFlags::TOPDIR));
        Ok(())
    }

    /// Opens a directory, to list or lock it; `None` if it is not there.
    pub(crate) fn open_dir(&self, name: &str) -> Result<Option<OwnedFd>> {
        self.found("open", name, rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()))
    }

    /// Opens a file for reading; `None` if it is not there.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.found("open", name, rustix::fs::openat(&self.fd, name, flags, Mode::empty()))
    }

    /// Opens a file that is only there to be locked, made first if need be.
    pub(crate) fn open_lock_file(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.error("open", name, errno))
    }

    /// Removes a file; whether it was there.
    pub(crate) fn unlink(&self, name: &str) -> Result<bool> {
        let result = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
        Ok(self.found("remove", name, result)?.is_some())
    }

    /// An error that concerns `name`.
    pub(crate) fn error(
        &self,
        action: &'static str,
        name: impl AsRef<Path>,
        errno: Errno,
    ) -> StoreError {
        StoreError::io(action, self.join(name), errno)
    }

    /// Tells "not there" from other errors.
    fn found<T>(
        &self,
        action: &'static str,
        name: &str,
        result: rustix::io::Result<T>,
    ) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error(action, name, errno)),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes the root itself. Only its owner may enter: snapshots hold set-user-ID programs, which
/// must not be within reach of other users of the machine.
fn create(path: &Path) -> Result<()> {
    let error = |e| StoreError::io("create", path, e);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(error)?;
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(error(errno.into())),
    }
}
