//! `/dev`: a tmpfs with the nodes Docker gives, devpts, shared memory, and more devices on request.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, chmodat, fchown, makedev, mkdirat, mknodat, openat, symlinkat,
};
use rustix::mount::MountAttrFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::fs::{FsError, NewFs, clone_of, open_path};
use super::{Attachment, Place, Source};
use crate::cgroup::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};
use crate::ids::{Ids, Shift};
use crate::spec::Device;

/// What keeps the container from devices it was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceControl {
    /// Its control group: nodes are ordinary nodes.
    Group,
    /// Its mounts: no filesystem of the container honours device nodes (`nodev`), and the devices
    /// it has are mounted one by one. Also all that a process without `CAP_MKNOD` can do.
    Mounts,
    /// Nothing: it is privileged.
    None,
}

impl DeviceControl {
    /// The attribute every mount of the container needs.
    pub(crate) fn attribute(self) -> MountAttrFlags {
        match self {
            Self::Mounts => MountAttrFlags::MOUNT_ATTR_NODEV,
            Self::Group | Self::None => MountAttrFlags::empty(),
        }
    }
}

/// Nodes, all character devices with mode 0666: name, major, minor.
const NODES: [(&CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// The group of terminals.
const TTY: u32 = 5;

const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file or directory in the new `/dev`, to mount something on.
fn place(dev: &OwnedFd, name: &CStr) -> io::Result<Place> {
    Ok(Place::At(Arc::new(openat(dev, name, PLACE, Mode::empty())?)))
}

fn make_file(dev: &OwnedFd, name: &CStr) -> io::Result<Place> {
    mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?;
    place(dev, name)
}

pub(crate) fn make_dir(dev: &OwnedFd, name: &CStr) -> io::Result<Place> {
    mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    place(dev, name)
}

/// Fills the tmpfs. What cannot be made in it is attached to it.
pub(crate) fn fill(
    dev: &OwnedFd,
    control: DeviceControl,
    attachments: &mut Vec<Attachment>,
) -> Result<(), FsError> {
    for (name, major, minor) in NODES {
        if control == DeviceControl::Mounts {
            let path = Path::new("/dev").join(name.to_str().unwrap_or_default());
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            attachments.push(Attachment {
                source: Source::Ready(clone_of(open_path(&path)?, attributes, false)?.into()),
                place: make_file(dev, name)?,
                what: "device",
                target: path.display().to_string(),
            });
        } else {
            make_node(dev, name, FileType::CharacterDevice, 0o666, makedev(major, minor))?;
        }
    }
    for (target, name) in LINKS {
        symlinkat(target, dev, name)?;
    }
    Ok(())
}

fn make_node(dev: &OwnedFd, name: &CStr, kind: FileType, mode: u32, number: u64) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    mknodat(dev, name, kind, mode, number)?;
    // The caller's umask took part. Nobody else has this filesystem yet.
    chmodat(dev, name, mode, AtFlags::empty())?;
    Ok(())
}

/// Makes the nodes of all devices the host has, for privileged containers. What cannot be made is
/// left out.
pub(crate) fn fill_with_host_devices(dev: &OwnedFd) {
    let Ok(entries) = fs::read_dir("/dev") else { return };
    copy_nodes(entries, dev);
}

fn copy_nodes(entries: fs::ReadDir, dev: &OwnedFd) {
    for entry in entries.flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        let Ok(name) = CString::new(entry.file_name().into_encoded_bytes()) else { continue };
        let kind = meta.file_type();
        // What the container has of its own.
        let own = [c"pts", c"shm", c"mqueue", c"fd", c"console", c"ptmx"];
        if own.contains(&name.as_c_str()) {
            continue;
        }
        if kind.is_dir() {
            if let Ok(Place::At(below)) = make_dir(dev, &name)
                && let Ok(entries) = fs::read_dir(entry.path())
            {
                copy_nodes(entries, &below);
            }
        } else if kind.is_char_device() || kind.is_block_device() {
            let kind = if kind.is_char_device() {
                FileType::CharacterDevice
            } else {
                FileType::BlockDevice
            };
            if make_node(dev, &name, kind, meta.mode() & 0o7777, meta.rdev()).is_ok() {
                let owner = rustix::fs::Uid::from_raw(meta.uid());
                let group = rustix::fs::Gid::from_raw(meta.gid());
                let nofollow = AtFlags::SYMLINK_NOFOLLOW;
                let _ = rustix::fs::chownat(dev, &name, Some(owner), Some(group), nofollow);
            }
        }
    }
}

/// A new, empty instance of devpts, attached nowhere.
pub(crate) fn devpts(shift: Option<Shift>) -> Result<OwnedFd, FsError> {
    let fs = NewFs::open(c"devpts")?;
    fs.set(c"source", "devpts")?;
    fs.flag(c"newinstance")?;
    for (key, value) in [(c"ptmxmode", "0666"), (c"mode", "0620")] {
        fs.set(key, value)?;
    }
    if Ids::own().has_group(TTY) {
        fs.set(c"gid", shift.map_or(TTY, |shift| shift.outside(TTY)))?;
    }
    fs.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)
}

/// A pseudoterminal of the container.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The caller's side.
    pub(crate) outside: OwnedFd,
    /// The process's side.
    pub(crate) inside: OwnedFd,
    /// Its name in `/dev/pts`.
    pub(crate) name: CString,
}

/// Opens a terminal in an instance of devpts; `ptmx` is its multiplexer.
pub(crate) fn open_terminal(
    ptmx: OwnedFd,
    rows: u16,
    columns: u16,
    owner: u32,
) -> io::Result<Terminal> {
    rustix::pty::unlockpt(&ptmx)?;
    // Not by name: the name is looked up in somebody's /dev/pts, and not in this instance.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let inside = rustix::pty::ioctl_tiocgptpeer(&ptmx, flags)?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ptmx, size)?;
    fchown(&inside, Some(rustix::fs::Uid::from_raw(owner)), None)?;
    let path = rustix::pty::ptsname(&ptmx, Vec::new())?;
    let name = Path::new(OsStr::new(path.to_str().unwrap_or_default()))
        .file_name()
        .map_or_else(Vec::new, |name| name.as_encoded_bytes().to_vec());
    Ok(Terminal { outside: ptmx, inside, name: CString::new(name)? })
}

/// What the control group has to allow for these devices.
pub(crate) fn rules(devices: &[Device]) -> Result<Vec<DeviceRule>, (String, io::Error)> {
    let rule = |device: &Device| {
        let meta = fs::metadata(&device.source)?;
        let kind = match meta.file_type() {
            kind if kind.is_char_device() => DeviceKind::Char,
            kind if kind.is_block_device() => DeviceKind::Block,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a device")),
        };
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        Ok(DeviceRule {
            kind,
            major: Some(rustix::fs::major(meta.rdev())),
            minor: Some(rustix::fs::minor(meta.rdev())),
            access: bit(device.read, READ) | bit(device.write, WRITE) | bit(device.mknod, MKNOD),
        })
    };
    devices
        .iter()
        .map(|device| rule(device).map_err(|e| (device.source.display().to_string(), e)))
        .collect()
}
