//! Attaching what was prepared, in the child's own mount namespace.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::{Errno, Result as SysResult};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};

use super::report::{At, Failure, Step};
use crate::mounts::{Attachment, EMPTY, HARMLESS, Place, Prepared, Source, WHOLE, open_within};
use crate::plan::Build;
use crate::sys;

/// Attaches everything, changes the root directory and lets go of the host's mounts. Gives the
/// container's `/dev/null`.
pub(super) fn attach_all(build: &Build) -> Result<OwnedFd, Failure> {
    let mounts = &build.mounts;
    // From here on nothing that is mounted reaches the host, and nothing from there comes here.
    let host = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    host.and_then(|root| sys::seal_mount(&root, MountAttrFlags::empty(), true))
        .at(Step::Propagation)?;

    // The scratch files lie on the old root directory, and so go away with it; the new root lies
    // on top of them.
    move_onto_root(&mounts.scratch).at(Step::PivotRoot)?;
    move_onto_root(&mounts.root).at(Step::PivotRoot)?;
    for (n, attachment) in mounts.attachments.iter().enumerate() {
        attach(mounts, attachment).at_index(Step::Mount, n)?;
    }
    for (n, (path, value)) in build.sysctls.iter().enumerate() {
        write_file(&mounts.root, path, value).at_index(Step::Sysctl, n)?;
    }
    for path in mounts.masked {
        mask(mounts, path).at(Step::Mask)?;
    }
    for path in mounts.read_only {
        make_read_only(&mounts.root, path).at(Step::ReadOnlyPaths)?;
    }
    let null = openat(&mounts.dev, c"null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Stdio)?;

    // The new root is put where the old one was, and the old one on top of it, to be taken away:
    // see NOTES in pivot_root(2). Each call takes the topmost mount: first the scratch files, which
    // lie on the old root, then the old root itself. Were it to stay, every `..` that arrives at `/`
    // would lead to the host.
    rustix::process::fchdir(&mounts.root).at(Step::PivotRoot)?;
    rustix::process::pivot_root(c".", c".").at(Step::PivotRoot)?;
    unmount(c".", UnmountFlags::DETACH).at(Step::PivotRoot)?;
    unmount(c".", UnmountFlags::DETACH).at(Step::PivotRoot)?;
    rustix::process::chdir(c"/").at(Step::PivotRoot)?;
    Ok(null)
}

/// Opens a path in the container, where no link leads out of it.
fn open_inside(root: &OwnedFd, path: &CStr, flags: OFlags) -> SysResult<OwnedFd> {
    let path = path.to_bytes_with_nul().strip_prefix(b"/").unwrap_or(path.to_bytes_with_nul());
    let path = CStr::from_bytes_with_nul(path).map_err(|_| Errno::INVAL)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), inside)
}

fn move_onto_root(mount: &OwnedFd) -> SysResult<()> {
    move_mount(mount, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn move_onto(mount: impl AsFd, place: impl AsFd) -> SysResult<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

/// A file or directory of an attached filesystem once more.
fn copy(dir: impl AsFd, name: &CStr, attributes: MountAttrFlags) -> SysResult<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mount = open_tree(dir, name, flags)?;
    sys::seal_mount(&mount, attributes, false)?;
    Ok(mount)
}

/// A part of a filesystem, which is put where nobody sees it: only what is attached can be copied.
fn part(scratch: &OwnedFd, filesystem: &OwnedFd, path: &CStr) -> SysResult<OwnedFd> {
    let place = openat(scratch, WHOLE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    move_onto(filesystem, place)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(open_within(filesystem, path)?, c"", flags)
}

fn attach(mounts: &Prepared, attachment: &Attachment) -> SysResult<()> {
    let root = &mounts.root;
    let made;
    let mount = match &attachment.source {
        Source::Ready(mount) => mount.as_fd(),
        Source::Copy { dir, name, attributes } => {
            made = copy(dir, name, *attributes)?;
            made.as_fd()
        }
        Source::Part { filesystem, path } => {
            made = part(&mounts.scratch, filesystem, path)?;
            made.as_fd()
        }
        Source::New { kind, options, attributes } => {
            let fs = fsopen(*kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
            for (key, value) in options {
                match value {
                    Some(value) => fsconfig_set_string(&fs, key.as_c_str(), value.as_c_str())?,
                    None => fsconfig_set_flag(&fs, key.as_c_str())?,
                }
            }
            fsconfig_create(&fs)?;
            made = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, *attributes)?;
            made.as_fd()
        }
    };
    match &attachment.place {
        Place::At(place) => move_onto(mount, place),
        Place::Later(path) => move_onto(mount, open_inside(root, path, OFlags::PATH)?),
    }
}

/// Covers a file with `/dev/null` and a directory with an empty one.
fn mask(mounts: &Prepared, path: &CStr) -> SysResult<()> {
    let place = match open_inside(&mounts.root, path, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        result => result?,
    };
    let cover = if FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Directory {
        copy(&mounts.scratch, EMPTY, MountAttrFlags::MOUNT_ATTR_RDONLY | HARMLESS)?
    } else {
        copy(&mounts.dev, c"null", MountAttrFlags::empty())?
    };
    move_onto(cover, place)
}

/// Lays a read-only view of a file or directory over itself.
fn make_read_only(root: &OwnedFd, path: &CStr) -> SysResult<()> {
    let place = match open_inside(root, path, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        result => result?,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let view = open_tree(&place, c"", flags)?;
    sys::seal_mount(&view, MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    move_onto(view, place)
}

fn write_file(root: &OwnedFd, path: &CStr, value: &str) -> SysResult<()> {
    let file = open_inside(root, path, OFlags::WRONLY)?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}
