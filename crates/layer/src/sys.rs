//! The few kernel calls everything here is made of: relative to a directory, never through a
//! symbolic link.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

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
pub(crate) fn stat_at(dir: impl AsFd, name: impl AsRef<OsStr>) -> io::Result<Option<Metadata>> {
    match fs::statat(dir, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names in a directory, in no particular order, without `.` and `..`.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<OsString>> {
    // Room for about five hundred entries per call.
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 16 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = CStr::to_bytes(entry.file_name());
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
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
