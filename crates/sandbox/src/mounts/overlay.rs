//! The root filesystem, see `Documentation/filesystems/overlayfs.rst`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::fs::{FsError, NewFs, clone_of, open_path};
use crate::ids::Ids;
use crate::spec::Root;
use crate::sys;

/// What fsconfig(2) takes as a string, the null byte included.
const STRING_MAX: usize = 256;

/// Mounts the root filesystem, attached nowhere. Its files are owned by the users of the namespace
/// `users`, where there is one.
pub(crate) fn mount(
    root: &Root,
    attributes: MountAttrFlags,
    users: Option<&OwnedFd>,
) -> Result<OwnedFd, FsError> {
    let single = |dir: &Path, recursive, attributes| {
        let mount = clone_of(open_path(dir)?, attributes, recursive)?;
        if let Some(users) = users {
            sys::map_mount(&mount, users)?;
        }
        Ok(mount)
    };
    match root {
        Root::Dir(dir) => single(dir, users.is_none(), attributes),
        Root::ReadOnly { lowers } => {
            let attributes = attributes | MountAttrFlags::MOUNT_ATTR_RDONLY;
            match lowers.as_slice() {
                // An overlay needs at least two.
                [only] => single(only, false, attributes),
                lowers => overlay(lowers, None, false, attributes, users),
            }
        }
        Root::Overlay { lowers, upper, work, volatile } => {
            if lowers.is_empty() {
                // The upper directory alone; an overlay needs something below it.
                return single(upper, false, attributes);
            }
            overlay(lowers, Some((upper, work)), *volatile, attributes, users)
        }
    }
}

/// The path of an open file or directory.
fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// `lowers` are lowest first, as images count; the kernel wants the highest first, and takes 500
/// (`OVL_MAX_STACK`).
fn overlay(
    lowers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    volatile: bool,
    attributes: MountAttrFlags,
    users: Option<&OwnedFd>,
) -> Result<OwnedFd, FsError> {
    let fs = NewFs::open(c"overlay")?;
    fs.set(c"source", "overlay")?;
    // Some of it is looked at only when the mount is made.
    let _held = match users {
        Some(users) => mapped_layers(&fs, lowers, writable, users)?,
        None => layers(&fs, lowers, writable)?,
    };
    if writable.is_some() && volatile {
        fs.flag(c"volatile")?;
    }
    if Ids::own().are_all() {
        // Distributions differ in their defaults. With any of these on, an upper directory holds
        // references instead of files, and is no layer of an image any more.
        for option in [c"redirect_dir", c"metacopy", c"index"] {
            fs.set(option, "off")?;
        }
    } else {
        // In a user namespace there are no `trusted.` attributes, and so none of these either.
        fs.flag(c"userxattr")?;
    }
    fs.mount(attributes)
}

/// Names the layers by their paths. Gives what has to stay open.
fn layers(
    fs: &NewFs,
    lowers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
) -> Result<Vec<OwnedFd>, FsError> {
    // References to directories whose paths are too long for an option.
    let mut held = Vec::new();
    let mut short = |path: &Path| -> Result<PathBuf, FsError> {
        if path.as_os_str().len() < STRING_MAX {
            return Ok(path.to_owned());
        }
        let fd = open_path(path)?;
        let link = by_descriptor(&fd);
        held.push(fd);
        Ok(link)
    };
    // One option for each layer has no limit of length; before Linux 6.7 there was only the list.
    let mut one_by_one = true;
    for (n, lower) in lowers.iter().rev().enumerate() {
        match fs.set_path(c"lowerdir+", &short(lower)?) {
            Err(e) if n == 0 && e.source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                one_by_one = false;
                break;
            }
            result => result?,
        }
    }
    if !one_by_one {
        let mut list = Vec::new();
        for lower in lowers.iter().rev() {
            if !list.is_empty() {
                list.push(b':');
            }
            for byte in short(lower)?.as_os_str().as_bytes() {
                if matches!(byte, b':' | b'\\' | b',') {
                    list.push(b'\\');
                }
                list.push(*byte);
            }
        }
        fs.set_path(c"lowerdir", Path::new(std::ffi::OsStr::from_bytes(&list)))?;
    }
    if let Some((upper, work)) = writable {
        fs.set_path(c"upperdir", &short(upper)?)?;
        fs.set_path(c"workdir", &short(work)?)?;
    }
    Ok(held)
}

/// Gives the layers as mounts whose files belong to the users of the namespace `users`. Takes Linux 6.15.
fn mapped_layers(
    fs: &NewFs,
    lowers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    users: &OwnedFd,
) -> Result<Vec<OwnedFd>, FsError> {
    let mapped = |dir: &Path| -> Result<OwnedFd, FsError> {
        let mount = clone_of(open_path(dir)?, MountAttrFlags::empty(), false)?;
        sys::map_mount(&mount, users)?;
        Ok(mount)
    };
    // A mount that is attached nowhere ends with its descriptor.
    let mut held = Vec::new();
    for lower in lowers.iter().rev() {
        let mount = mapped(lower)?;
        fs.set_directory(c"lowerdir+", &mount)?;
        held.push(mount);
    }
    if let Some((upper, work)) = writable {
        // They have to be on one and the same mount.
        let above = upper.ancestors().find(|above| work.starts_with(above));
        let above = above.unwrap_or(Path::new("/"));
        let mount = mapped(above)?;
        for (key, dir) in [(c"upperdir", upper), (c"workdir", work)] {
            let below = dir.strip_prefix(above).unwrap_or(dir);
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            fs.set_directory(key, openat(&mount, below, flags, Mode::empty())?)?;
        }
        held.push(mount);
    }
    Ok(held)
}
