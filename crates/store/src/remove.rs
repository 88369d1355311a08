//! Removing trees that a container has filled.
//!
//! Such a tree may be owned by anyone, have directories without permissions, files with the
//! immutable flag (chattr(1)), names that are no UTF-8, symbolic links to everywhere, and be deeper
//! than any path or stack allows. Everything is therefore done relative to descriptors of
//! directories that were opened without following links, and at a bounded depth.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

use crate::root::DIRECTORY;

/// Levels that are descended, one descriptor and one buffer each; what lies deeper is moved up
/// first.
const DEPTH: u32 = 64;

/// Size of the buffer for the names of a directory.
const BUFFER: usize = 8 * 1024;

/// Removes `name` in `parent`, whatever it is. Not being there is fine.
pub(crate) fn tree(parent: impl AsFd, name: impl Arg) -> Result<()> {
    name.into_with_c_str(|name| {
        let parent = parent.as_fd();
        if unlink(parent, name)? == Entry::Directory {
            let directory = open_directory(parent, name)?;
            let mut top = Top { fd: directory.as_fd(), moved: 0 };
            directory_entry(parent, name, directory.as_fd(), &mut top, 0)?;
        }
        Ok(())
    })
}

/// Moves `name` in `parent` to `new_name` in `to`. Its owner may lack the right to change a directory,
/// which moving it takes, and can give himself that.
pub(crate) fn rename(
    parent: impl AsFd,
    name: impl Arg,
    to: impl AsFd,
    new_name: &str,
) -> Result<()> {
    name.into_with_c_str(|name| {
        let parent = parent.as_fd();
        stubbornly(parent, name, || rustix::fs::renameat(parent, name, &to, new_name))
    })
}

/// The directory where the walk began: the refuge of what lies too deep.
struct Top<'a> {
    fd: BorrowedFd<'a>,
    moved: u64,
}

/// What [`unlink`] left.
#[derive(PartialEq)]
enum Entry {
    Gone,
    Directory,
}

/// Empties `directory`, which lies `depth` levels below the top as `name` in `parent`, and removes
/// it. Some file systems skip names when others are removed meanwhile: not empty means once more,
/// and so it does for the top when something was moved up.
fn directory_entry(
    parent: BorrowedFd<'_>,
    name: &CStr,
    directory: BorrowedFd<'_>,
    top: &mut Top<'_>,
    depth: u32,
) -> Result<()> {
    loop {
        contents(directory, top, depth)?;
        match stubbornly(parent, name, || rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)) {
            Err(Errno::NOTEMPTY) => rustix::fs::seek(directory, SeekFrom::Start(0))?,
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        };
    }
}

/// Removes, in one pass, what is in `directory`.
fn contents(directory: BorrowedFd<'_>, top: &mut Top<'_>, depth: u32) -> Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory && unlink(directory, name)? == Entry::Gone {
            continue;
        }
        if depth == DEPTH {
            move_up(directory, name, top)?;
        } else {
            let child = open_directory(directory, name)?;
            directory_entry(directory, name, child.as_fd(), top, depth + 1)?;
        }
    }
    Ok(())
}

/// Removes anything but a directory.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> Result<Entry> {
    match stubbornly(parent, name, || rustix::fs::unlinkat(parent, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => Ok(Entry::Gone),
        Err(Errno::ISDIR) => Ok(Entry::Directory),
        Err(errno) => Err(errno),
    }
}

/// Moves a directory to the top, under a name that is free there.
fn move_up(parent: BorrowedFd<'_>, name: &CStr, top: &mut Top<'_>) -> Result<()> {
    loop {
        top.moved += 1;
        let refuge = format!("bld-moved-up-{}", top.moved);
        match rename(parent, name, top.fd, &refuge) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {} // the container's own
            result => return result,
        }
    }
}

/// Opens a directory to empty it. Root may always; its owner needs the right to list, search and
/// write it, and can give that to himself.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let fd =
        stubbornly(parent, name, || rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()))?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // If it matters and is not possible, the first entry fails.
        let _ = rustix::fs::fchmod(&fd, Mode::RWXU);
    }
    Ok(fd)
}

/// Does `operation` on `name`; if that is not permitted, lifts what may forbid it and tries again.
fn stubbornly<T>(
    parent: BorrowedFd<'_>,
    name: &CStr,
    operation: impl Fn() -> Result<T>,
) -> Result<T> {
    match operation() {
        Err(Errno::PERM | Errno::ACCESS) => {
            thaw(parent);
            relax(parent, name)?;
            operation()
        }
        result => result,
    }
}

/// Makes `name` removable: no flags that forbid it, and a directory all rights for its owner.
fn relax(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        // chmod without following: the link in /proc leads to the very object that is open.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        // Fails for an immutable one, which is of root and needs no rights to be opened.
        let _ = rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::RWXU);
    }
    // Nothing else can have flags, and opening a device might do something.
    if matches!(kind, FileType::Directory | FileType::RegularFile) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(parent, name, flags, Mode::empty()) {
            thaw(fd);
        }
    }
    Ok(())
}

/// Takes away the flags "immutable" and "append only"; what cannot be done shows at the next step.
fn thaw(fd: impl AsFd) {
    let frozen = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&fd)
        && flags.intersects(frozen)
    {
        let _ = rustix::fs::ioctl_setflags(&fd, flags - frozen);
    }
}
