//! Extended attributes: which of them belong to an image, and how to get and set them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Name and value of every attribute, sorted by name.
pub(crate) type Xattrs = Vec<(OsString, Vec<u8>)>;

/// The largest value and the longest list of names the kernel hands out (`XATTR_SIZE_MAX`,
/// `XATTR_LIST_MAX` in linux/limits.h).
const MAX: usize = 64 * 1024;

/// Marks a directory that hides everything below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// The same, where overlayfs is mounted with `userxattr`.
const OPAQUE_USER: &str = "user.overlay.opaque";

/// Whether an attribute is part of an image: file capabilities, and what users attach to files.
///
/// The private attributes of overlayfs must neither leave with a layer nor come in with one: a
/// `redirect` from an archive could show any directory of the layers below under another name.
/// Labels of security modules describe the machine, not the image.
pub(crate) fn is_kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Whether an attribute says that the contents of a file or directory are not where it is. Our
/// mounts never make one, but a tree may come from elsewhere.
pub(crate) fn moves_contents(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let name = name.strip_prefix(b"trusted.").or_else(|| name.strip_prefix(b"user."));
    matches!(name, Some(b"overlay.redirect" | b"overlay.metacopy"))
}

/// What attributes are asked of.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A path. A symbolic link at its end is not followed.
    Path(&'a Path),
    /// An open file, which needs no second way through the directories.
    File(&'a File),
}

impl<'a> From<&'a PathBuf> for Subject<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<&'a Path> for Subject<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<&'a File> for Subject<'a> {
    fn from(file: &'a File) -> Self {
        Self::File(file)
    }
}

impl Subject<'_> {
    /// The length of the list of names.
    fn measure(self) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => rustix::fs::llistxattr_query(path),
            Self::File(file) => rustix::fs::flistxattr_query(file),
        }
    }

    fn list(self, names: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => rustix::fs::llistxattr(path, names),
            Self::File(file) => rustix::fs::flistxattr(file, names),
        }
    }

    fn get(self, name: &OsStr, value: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Path(path) => rustix::fs::lgetxattr(path, name, value),
            Self::File(file) => rustix::fs::fgetxattr(file, name, value),
        }
    }
}

/// The attributes of a file that belong to an image.
pub(crate) fn kept<'a>(subject: impl Into<Subject<'a>>) -> io::Result<Xattrs> {
    let subject = subject.into();
    let mut found = Vec::new();
    for name in list(subject)? {
        if is_kept(&name)
            && let Some(value) = get(subject, &name)?
        {
            found.push((name, value));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The names of all attributes of a file.
pub(crate) fn list<'a>(subject: impl Into<Subject<'a>>) -> io::Result<Vec<OsString>> {
    let subject = subject.into();
    // Nearly every file has none: ask for the length first, and the buffer is never needed.
    let length = match subject.measure() {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(error) => return Err(error.into()),
    };
    let mut names = vec![0_u8; length];
    let length = match subject.list(&mut names) {
        Err(Errno::RANGE) => {
            names = vec![0; MAX];
            subject.list(&mut names)?
        }
        result => result?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
}

/// The value of one attribute, if the file has it.
pub(crate) fn get<'a>(
    subject: impl Into<Subject<'a>>,
    name: impl AsRef<OsStr>,
) -> io::Result<Option<Vec<u8>>> {
    let (subject, name) = (subject.into(), name.as_ref());
    let mut value = vec![0_u8; 256];
    let length = match subject.get(name, &mut value) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE) => {
            value = vec![0; MAX];
            subject.get(name, &mut value)?
        }
        result => result?,
    };
    value.truncate(length);
    Ok(Some(value))
}

/// Whether overlayfs shows nothing of the layers below through this directory.
pub(crate) fn is_opaque(dir: &Path) -> io::Result<bool> {
    for name in [OPAQUE, OPAQUE_USER] {
        if get(dir, name)?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sets attributes of an open file.
///
/// What the filesystem has no place for, or an unprivileged user may not set, is left out, as
/// every other unpacker does: an image must not fail to unpack for the lack of a label.
pub(crate) fn set(file: impl AsFd, xattrs: &Xattrs) -> io::Result<()> {
    for (attribute, value) in xattrs {
        let result =
            rustix::fs::fsetxattr(&file, attribute.as_os_str(), value, XattrFlags::empty());
        best_effort(result)?;
    }
    Ok(())
}

/// The same for `name` in the directory `dir`. A symbolic link is not followed.
pub(crate) fn set_at(dir: impl AsFd, name: &OsStr, xattrs: &Xattrs) -> io::Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = proc_path(dir.as_fd(), name);
    for (attribute, value) in xattrs {
        let result =
            rustix::fs::lsetxattr(&path, attribute.as_os_str(), value, XattrFlags::empty());
        best_effort(result)?;
    }
    Ok(())
}

fn best_effort(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => Ok(result?),
    }
}

/// Hides what the layers below have in the directory `name` of `dir`.
pub(crate) fn set_opaque(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let path = proc_path(dir.as_fd(), name);
    match rustix::fs::lsetxattr(&path, OPAQUE, b"y", XattrFlags::empty()) {
        Err(Errno::PERM) => {
            Ok(rustix::fs::lsetxattr(&path, OPAQUE_USER, b"y", XattrFlags::empty())?)
        }
        result => Ok(result?),
    }
}

/// A path to `name` in an open directory: there is no `setxattrat` before Linux 6.13.
fn proc_path(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}
