//! The few kernel calls everything here is made of: relative to a directory, never through a
//! symbolic link.

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::Metadata;

/// Opens the root of a tree. This path comes from the caller and may hold symbolic links.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

/// Opens `path` below `root`. A symbolic link anywhere on the way is an error (`ELOOP`): paths
/// that reach this are already resolved, so a link can only have been put there since.
pub(crate) fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Metadata of `name` in a directory, or `None` when there is no such file. A symbolic link at the
/// end is not followed.
pub(crate) fn stat_at(dir: impl AsFd, name: impl Arg) -> io::Result<Option<Metadata>> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory, in no particular order, without `.` and `..`.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Names> {
    // Room for about five hundred entries per call.
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 16 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Names(Vec::new());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.0.extend_from_slice(name.to_bytes_with_nul());
        }
    }
    Ok(names)
}

/// Names of files, one behind the other: they are many, and each is needed once.
pub(crate) struct Names(Vec<u8>);

impl Names {
    /// The names, as the kernel takes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        let names = self.0.split_inclusive(|byte| *byte == 0);
        names.filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    }
}

/// The text of a name that came from the kernel.
pub(crate) fn text(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// The path of `name` in a directory, in just as much memory as it takes: there are many of them.
pub(crate) fn inside(dir: &Path, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::with_capacity(dir.as_os_str().len() + 1 + name.len());
    path.push(dir);
    path.push(name);
    path
}

/// The path without its root and without `.` components: what openat and friends take.
pub(crate) fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .collect()
}

/// An absolute path that is canonical already without its root: what [`relative`] gives, without
/// going through its components.
pub(crate) fn unrooted(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes)))
}
