//! Making mounts that are not attached anywhere yet, see fsopen(2), fsmount(2), open_tree(2).

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::spec::Propagation;
use crate::sys;

/// Attributes of filesystems that have no business with devices, programs or setuid bits.
pub(crate) const HARMLESS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Why a filesystem could not be set up.
#[derive(Debug)]
pub(crate) struct FsError {
    /// What the filesystem said, often more than the error number does.
    pub(crate) detail: String,
    pub(crate) source: io::Error,
}

impl<E: Into<io::Error>> From<E> for FsError {
    fn from(source: E) -> Self {
        Self { detail: String::new(), source: source.into() }
    }
}

/// A filesystem that is being configured.
pub(crate) struct NewFs(OwnedFd);

impl NewFs {
    pub(crate) fn open(kind: &CStr) -> Result<Self, FsError> {
        Ok(Self(fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?))
    }

    pub(crate) fn set(&self, key: &CStr, value: impl fmt::Display) -> Result<(), FsError> {
        fsconfig_set_string(&self.0, key, value.to_string()).map_err(|e| self.error(e))
    }

    /// Sets a path, which need not be UTF-8.
    pub(crate) fn set_path(&self, key: &CStr, path: &Path) -> Result<(), FsError> {
        fsconfig_set_string(&self.0, key, path).map_err(|e| self.error(e))
    }

    /// Sets an open directory.
    pub(crate) fn set_directory(&self, key: &CStr, dir: impl AsFd) -> Result<(), FsError> {
        fsconfig_set_fd(&self.0, key, dir).map_err(|e| self.error(e))
    }

    pub(crate) fn flag(&self, key: &CStr) -> Result<(), FsError> {
        fsconfig_set_flag(&self.0, key).map_err(|e| self.error(e))
    }

    /// Gives the root of the finished mount.
    pub(crate) fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd, FsError> {
        fsconfig_create(&self.0).map_err(|e| self.error(e))?;
        fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|e| self.error(e))
    }

    /// The error with the messages the kernel keeps for this filesystem: one for each read(2), a
    /// letter for its severity and a blank in front.
    fn error(&self, source: rustix::io::Errno) -> FsError {
        let mut messages = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(n @ 1..) = rustix::io::read(&self.0, &mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..n]);
            let message = message.trim_end();
            messages.push(message.strip_prefix("e ").unwrap_or(message).to_owned());
        }
        FsError { detail: messages.join("; "), source: source.into() }
    }
}

/// A tmpfs. `options` are keys and values of tmpfs(5), and `source`, what /proc/mounts calls it.
pub(crate) fn tmpfs(
    options: &[(&CStr, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, FsError> {
    let fs = NewFs::open(c"tmpfs")?;
    if !options.iter().any(|(key, _)| *key == c"source") {
        // Some programs look for the word.
        fs.set(c"source", "tmpfs")?;
    }
    for (key, value) in options {
        fs.set(key, value)?;
    }
    fs.mount(attributes)
}

/// A filesystem that needs to be told nothing.
pub(crate) fn plain(kind: &CStr, attributes: MountAttrFlags) -> Result<OwnedFd, FsError> {
    let fs = NewFs::open(kind)?;
    fs.set(c"source", kind.to_string_lossy())?;
    fs.mount(attributes)
}

/// Makes a mount that shows the network namespace `network`.
pub(crate) fn in_network(
    network: &OwnedFd,
    make: impl FnOnce() -> Result<OwnedFd, FsError> + Send,
) -> Result<OwnedFd, FsError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::enter_namespaces(network, libc::CLONE_NEWNET)?;
            make()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has ended").into()))
    })
}

/// The same file or directory once more, as a mount of its own that shares no events with the
/// original.
pub(crate) fn clone_of(
    source: impl AsFd,
    attributes: MountAttrFlags,
    recursive: bool,
) -> Result<OwnedFd, FsError> {
    clone_with(source, attributes, recursive, Propagation::Private)
}

/// The same with the events that `propagation` says.
pub(crate) fn clone_with(
    source: impl AsFd,
    attributes: MountAttrFlags,
    recursive: bool,
    propagation: Propagation,
) -> Result<OwnedFd, FsError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(source, c"", flags)?;
    let propagation = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    sys::set_mount(&mount, attributes, propagation, recursive)?;
    Ok(mount)
}

/// Opens a path of the host just to refer to it.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}
