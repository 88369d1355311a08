//! The root filesystem, see `Documentation/filesystems/overlayfs.rst`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::fs::{FsError, NewFs, clone_of, open_path};
use crate::spec::Root;

/// What fsconfig(2) takes as a string, the null byte included.
const STRING_MAX: usize = 256;

/// Mounts the root filesystem, attached nowhere.
pub(crate) fn mount(root: &Root, attributes: MountAttrFlags) -> Result<OwnedFd, FsError> {
    match root {
        Root::Dir(dir) => clone_of(open_path(dir)?, attributes, true),
        Root::ReadOnly { lowers } => {
            let attributes = attributes | MountAttrFlags::MOUNT_ATTR_RDONLY;
            match lowers.as_slice() {
                // An overlay needs at least two.
                [only] => clone_of(open_path(only)?, attributes, false),
                lowers => overlay(lowers, None, false, attributes),
            }
        }
        Root::Overlay { lowers, upper, work, volatile } => {
            if lowers.is_empty() {
                // The upper directory alone; an overlay needs something below it.
                return clone_of(open_path(upper)?, attributes, false);
            }
            overlay(lowers, Some((upper, work)), *volatile, attributes)
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
) -> Result<OwnedFd, FsError> {
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

    let fs = NewFs::open(c"overlay")?;
    fs.set(c"source", "overlay")?;
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
        if volatile {
            fs.flag(c"volatile")?;
        }
    }
    // Distributions differ in their defaults. With any of these on, an upper directory holds
    // references instead of files, and is no layer of an image any more.
    for option in [c"redirect_dir", c"metacopy", c"index"] {
        fs.set(option, "off")?;
    }
    fs.mount(attributes)
}
