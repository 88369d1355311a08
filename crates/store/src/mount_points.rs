//! What containers mount on, as a layer below all others.
//!
//! A mount needs something to lie on, and images lack most of it. What was made for that in the
//! layer that a container writes to had to be found and removed again afterwards, which costs more
//! than running a small program. In a layer of its own, at the very bottom and shared by all, it is
//! made once. Nothing of it can be seen or changed in a container, for there is a mount on it.

use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::error::Result;
use crate::root::Root;
use crate::{Store, layout};

/// The directories.
const DIRECTORIES: [&str; 4] = ["dev", "proc", "sys", "etc"];

impl Store {
    /// A directory with nothing but mount points, to be the lowest layer of a container: `/dev`,
    /// `/proc`, `/sys`, `/etc/resolv.conf`, `/etc/hosts`, and `/etc/hostname` if `hostname`. Each
    /// of them has to be mounted on.
    pub fn mount_points(&self, hostname: bool) -> Result<PathBuf> {
        let (name, files): (_, &[_]) = if hostname {
            ("hostname", &["etc/resolv.conf", "etc/hostname", "etc/hosts"])
        } else {
            ("plain", &["etc/resolv.conf", "etc/hosts"])
        };
        let root = &self.inner().root;
        let layer = format!("{}/{name}", layout::MOUNT_POINTS);
        let last = files.last().map(|file| format!("{layer}/{file}")).unwrap_or_default();
        let there = rustix::fs::statat(root, last, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !there {
            make(root, &layer, files).map_err(|errno| root.error("create", &layer, errno))?;
        }
        Ok(root.join(layer))
    }
}

/// Makes what is not there yet. Many may do so at once.
fn make(root: &Root, layer: &str, files: &[&str]) -> rustix::io::Result<()> {
    let there = |result| match result {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    };
    let inside = DIRECTORIES.map(|name| format!("{layer}/{name}"));
    for dir in [layout::MOUNT_POINTS, layer].into_iter().chain(inside.iter().map(String::as_str)) {
        there(rustix::fs::mkdirat(root, dir, Mode::from_raw_mode(0o755)))?;
        // Whatever the umask is.
        rustix::fs::chmodat(root, dir, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    }
    for file in files {
        let path = format!("{layer}/{file}");
        let mode = Mode::from_raw_mode(0o644);
        there(rustix::fs::mknodat(root, path, FileType::RegularFile, mode, 0))?;
    }
    Ok(())
}
