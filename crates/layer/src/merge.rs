//! Several layers as one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, linkat, utimensat};
use rustix::io::Errno;

use crate::error::Context;
use crate::upper::Upper;
use crate::{Result, View, xattr};

/// Makes the empty directory `into` one layer that does what `layers`, lowest first, do on top of
/// one another: what they delete is deleted by it, and what they hide of a directory is hidden.
///
/// What is no directory is linked, whiteouts included, so nothing may be changed afterwards on
/// either side. All of it is on one filesystem. Only where a file has as many links as the
/// filesystem allows, it is copied.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io); also for paths longer than the kernel takes. What was
/// made until then stays.
pub fn merge(layers: &[PathBuf], into: &Path) -> Result<()> {
    merge_above(layers, None, into)
}

/// As [`merge`], for layers that lie on `below` and nowhere else: what they delete of each other is
/// not in the result.
///
/// # Errors
/// As [`merge`].
pub fn merge_onto(layers: &[PathBuf], below: &View, into: &Path) -> Result<()> {
    merge_above(layers, Some(below), into)
}

fn merge_above(layers: &[PathBuf], below: Option<&View>, into: &Path) -> Result<()> {
    let parts = layers.iter().rev().map(PathBuf::as_path).collect();
    let mut dirs = vec![Dir { path: PathBuf::new(), parts, hides: false }];
    let mut done = 0;
    while let Some(dir) = dirs.get(done) {
        let inside = dir.fill(below, into)?;
        dirs.extend(inside);
        done += 1;
    }
    // From the inside out: entries change the times of what they are made in.
    dirs.iter().rev().try_for_each(|dir| dir.finish(below, into))
}

/// A directory that several layers have.
struct Dir<'a> {
    /// Relative to the roots.
    path: PathBuf,
    /// The layers whose entries are seen in it, highest first.
    parts: Vec<&'a Path>,
    /// Whether it hides what is below all of these layers.
    hides: bool,
}

/// What is seen under a name.
struct Slot<'a> {
    parts: Vec<&'a Path>,
    is_dir: bool,
    /// Whether directories of lower layers still merge into it.
    open: bool,
}

impl<'a> Dir<'a> {
    /// Makes the entries, and tells which of them are directories, which are empty yet.
    fn fill(&self, below: Option<&View>, into: &Path) -> Result<Vec<Self>> {
        let mut dirs = Vec::new();
        for (name, Slot { parts, is_dir, open }) in self.entries()? {
            let path = self.path.join(name);
            let to = into.join(&path);
            if is_dir {
                fs::create_dir(&to).context("create directory", &to)?;
                dirs.push(Dir { path, parts, hides: !open });
            } else if let Some(layer) = parts.first() {
                if deletes_nothing(&layer.join(&path), below, &path)? {
                    continue;
                }
                match linkat(CWD, layer.join(&path), CWD, &to, AtFlags::empty()) {
                    Err(Errno::MLINK) => {
                        Upper::open(into, &View::plain(layer))?
                            .copy_up(&Path::new("/").join(path))?;
                    }
                    result => result.context("link", &to)?,
                }
            }
        }
        Ok(dirs)
    }

    fn entries(&self) -> Result<HashMap<OsString, Slot<'a>>> {
        let mut slots: HashMap<OsString, Slot<'a>> = HashMap::new();
        for layer in &self.parts {
            let real = layer.join(&self.path);
            for entry in fs::read_dir(&real).context("read directory", &real)? {
                let entry = entry.context("read directory", &real)?;
                let path = entry.path();
                let is_dir = entry.file_type().context("stat", &path)?.is_dir();
                let opaque = || xattr::is_opaque(&path).context("read the attributes of", &path);
                match slots.get_mut(&entry.file_name()) {
                    None => {
                        let open = is_dir && !opaque()?;
                        slots.insert(entry.file_name(), Slot { parts: vec![layer], is_dir, open });
                    }
                    Some(slot) if slot.open => {
                        slot.open = is_dir && !opaque()?;
                        if is_dir {
                            slot.parts.push(layer);
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(slots)
    }

    /// Gives it what the highest of the layers says of it.
    fn finish(&self, below: Option<&View>, into: &Path) -> Result<()> {
        let Some(layer) = self.parts.first() else { return Ok(()) };
        let (from, to) = (layer.join(&self.path), into.join(&self.path));
        let meta = fs::symlink_metadata(&from).context("stat", &from)?;
        lchown(&to, Some(meta.uid()), Some(meta.gid())).context("change the owner of", &to)?;
        let dir = fs::File::open(&to).context("open", &to)?;
        let xattrs = xattr::kept(&from).context("read the attributes of", &from)?;
        xattr::set(&dir, &xattrs).context("set the attributes of", &to)?;
        if self.hides && is_in(below, &self.path)? {
            xattr::set_opaque(CWD, to.as_os_str()).context("make opaque", &to)?;
        }
        // It may take away the right to open it.
        let mode = Permissions::from_mode(meta.mode());
        fs::set_permissions(&to, mode).context("change the mode of", &to)?;
        let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps {
            last_access: time(meta.atime(), meta.atime_nsec()),
            last_modification: time(meta.mtime(), meta.mtime_nsec()),
        };
        utimensat(CWD, &to, &times, AtFlags::empty()).context("set the times of", &to)
    }
}

/// Whether `file` is a whiteout for a path that is not there below.
fn deletes_nothing(file: &Path, below: Option<&View>, path: &Path) -> Result<bool> {
    if below.is_none() {
        return Ok(false);
    }
    let meta = fs::symlink_metadata(file).context("stat", file)?;
    let is_whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
    Ok(is_whiteout && !is_in(below, path)?)
}

/// Whether `path`, relative to the root, is there below, or nothing is known of what is. No link is followed
/// on the way: where there is one, there is no directory that could merge.
fn is_in(below: Option<&View>, path: &Path) -> Result<bool> {
    let Some(view) = below else { return Ok(true) };
    let mut inside = PathBuf::from("/");
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        inside.push(name);
        match view.lookup(&inside)? {
            Some(node) if names.peek().is_none() || node.meta.is_dir() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}
