//! Unpacking an archive into a directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::adopt::hide_all;
use crate::archive::read::{Archive, Entry, EntryKind};
use crate::error::Context;
use crate::upper::{Attributes, Special, Upper, finish_file};
use crate::{LayerError, Node, Result, View};

/// In front of the name of what a layer deletes (image-spec, layer.md).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// What makes the directory it is in hide the one below.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// In front of what AUFS kept for itself; images of its time have it, and it means nothing.
const AUFS: &[u8] = b".wh..wh.";

/// What entries named `.wh.*` mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// They become overlayfs whiteouts and opaque directories: the target is a layer of its own.
    #[default]
    Overlay,
    /// They remove what earlier layers put into the target, never what this archive put there:
    /// the target is a tree of its own, and no layers are below it.
    Remove,
    /// Nothing: they are files (`ADD` of an archive).
    Literal,
}

/// How [`apply`] unpacks.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// What entries named `.wh.*` mean.
    pub whiteouts: Whiteouts,
    /// User and group of every entry instead of the recorded ones.
    pub owner: Option<(u32, u32)>,
    /// Modification time of every entry, in seconds since the epoch, instead of the recorded one.
    pub mtime: Option<i64>,
    /// The layers below the target. With them, directories the archive goes through without
    /// listing them keep their owner and mode, symbolic links below are followed, and hard links
    /// may point below.
    pub lower: Option<View>,
    /// The target is a tree of its own, not a layer: what is replaced in it leaves no mark. It always
    /// is where whiteouts [remove](Whiteouts::Remove).
    pub flat: bool,
    /// The directory inside the tree that entry names are relative to; the root when empty. It
    /// must exist or be free to be made.
    pub prefix: PathBuf,
}

/// What [`apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries unpacked, whiteouts included.
    pub entries: u64,
    /// Bytes of file contents, without holes.
    pub bytes: u64,
    /// Directories made up because neither the archive nor the layers below have them, as absolute
    /// paths inside the tree, parents first. See [`adopt`](crate::adopt).
    pub implied: Vec<PathBuf>,
    /// Whether the archive hides all there is below it. See [`adopt`](crate::adopt).
    pub opaque_root: bool,
}

/// Unpacks an uncompressed archive into the directory `target`.
///
/// Nothing is ever made outside of `target`: names that climb out with `..` are refused, absolute
/// ones count from the root of the tree, and symbolic links on the way, from wherever they are,
/// are resolved as a process chrooted into the tree would. The archive is read to the very end of
/// the stream, so that a digest taken by the reader covers all of it.
///
/// # Errors
/// When the archive is malformed or an entry can't be unpacked. What was unpacked before stays.
pub fn apply(tar: &mut dyn Read, target: &Path, options: &ApplyOptions) -> Result<Applied> {
    let lower = options.lower.clone().unwrap_or_else(|| View::new(Vec::new()));
    let upper = match options.whiteouts {
        Whiteouts::Remove => Upper::open_flat(target)?,
        Whiteouts::Literal if options.flat => Upper::open_flat(target)?,
        Whiteouts::Overlay | Whiteouts::Literal => Upper::open(target, &lower)?,
    };
    let mut unpacker = Unpacker {
        upper,
        options,
        unpacked: HashSet::new(),
        plain: None,
        buffer: vec![0; 256 * 1024],
        applied: Applied::default(),
    };
    let mut archive = Archive::new(tar);
    while let Some(entry) = archive.next()? {
        unpacker.unpack(&entry, &mut archive)?;
    }
    archive.drain()?;
    let Unpacker { upper, mut applied, .. } = unpacker;
    if applied.opaque_root {
        hide_all(target, &lower)?;
    }
    applied.implied = upper.finish()?;
    Ok(applied)
}

struct Unpacker<'a> {
    upper: Upper,
    options: &'a ApplyOptions,
    /// What this archive made, when whiteouts must not remove it: canonical paths with all their
    /// parents.
    unpacked: HashSet<PathBuf>,
    /// The directory of the last entry, if no symbolic link leads to it: the next one is mostly in
    /// the same, and it stays what it is until something is put into its place.
    plain: Option<PathBuf>,
    buffer: Vec<u8>,
    applied: Applied,
}

impl Unpacker<'_> {
    fn unpack(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<()> {
        let name = PathBuf::from(OsString::from_vec(entry.name.clone()));
        let Some(path) = self.locate(&name, &name)? else {
            // The root, or the prefix: it belongs to whoever made it.
            return Ok(());
        };
        let parent = path.parent().unwrap_or(&path);
        let base = path.file_name().unwrap_or_default();
        let mut attributes = Attributes {
            mode: entry.mode,
            uid: self.options.owner.map_or(entry.uid, |owner| owner.0),
            gid: self.options.owner.map_or(entry.gid, |owner| owner.1),
            mtime: self.options.mtime.map_or(entry.mtime, |mtime| (mtime, 0)),
            xattrs: entry.xattrs.clone(),
        };
        let made = Attributes::implied_dir(attributes.mtime);
        if self.options.whiteouts != Whiteouts::Literal
            && let Some(hidden) = base.as_bytes().strip_prefix(WHITEOUT)
        {
            let hidden = OsStr::from_bytes(hidden);
            return self.whiteout(parent, base, hidden, &made, &name);
        }
        let dir = self.upper.dir(parent, &made)?;
        match &entry.kind {
            EntryKind::Dir => {
                if self.options.whiteouts == Whiteouts::Literal {
                    self.upper.inherit(&path, &mut attributes)?;
                }
                self.upper.put_dir(&dir, &path, &attributes)?;
            }
            EntryKind::File => self.file(&dir, &path, entry, &attributes, archive)?,
            EntryKind::Hardlink(target) => self.hardlink(&dir, &path, target, &name)?,
            EntryKind::Symlink(target) => {
                let target = PathBuf::from(OsString::from_vec(target.clone()));
                self.special(&dir, &path, &Special::Symlink(target), &attributes, &name)?;
            }
            // The number overlayfs gives whiteouts: on disk it would be one.
            EntryKind::CharDevice(0, 0) => return self.device_zero(&dir, &path, &name),
            EntryKind::CharDevice(major, minor) => {
                let device = Special::CharDevice(*major, *minor);
                self.special(&dir, &path, &device, &attributes, &name)?;
            }
            EntryKind::BlockDevice(major, minor) => {
                let device = Special::BlockDevice(*major, *minor);
                self.special(&dir, &path, &device, &attributes, &name)?;
            }
            EntryKind::Fifo => self.special(&dir, &path, &Special::Fifo, &attributes, &name)?,
        }
        self.done(&path);
        Ok(())
    }

    /// Where an entry goes: its parent resolved, its last component as it is. `None` for the
    /// directory everything goes into.
    fn locate(&mut self, name: &Path, entry: &Path) -> Result<Option<PathBuf>> {
        let clean =
            clean(name).ok_or(LayerError::entry(entry, "the name leads out of the tree"))?;
        let Some(base) = clean.file_name() else { return Ok(None) };
        let parent = clean.parent().unwrap_or(Path::new(""));
        let parent = Path::new("/").join(&self.options.prefix).join(parent);
        if self.plain.as_ref() == Some(&parent) {
            return Ok(Some(parent.join(base)));
        }
        let canonical = self.upper.canonical(&parent, true)?;
        let path = canonical.join(base);
        self.plain = (canonical == parent).then_some(parent);
        Ok(Some(path))
    }

    fn file(
        &mut self,
        dir: &Arc<OwnedFd>,
        path: &Path,
        entry: &Entry,
        attributes: &Attributes,
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let file = self.put(path, |upper| upper.put_file(dir, path, attributes))?;
        let real = self.upper.real(path);
        let mut write = |offset: u64, length: u64, buffer: &mut [u8]| {
            let mut at = offset;
            archive.copy(length, buffer, |bytes| {
                file.write_all_at(bytes, at).context("write", &real)?;
                at += bytes.len() as u64;
                Ok(())
            })
        };
        match &entry.segments {
            None => {
                write(0, entry.size, &mut self.buffer)?;
                self.applied.bytes += entry.size;
            }
            Some(segments) => {
                for segment in segments {
                    write(segment.offset, segment.length, &mut self.buffer)?;
                    self.applied.bytes += segment.length;
                }
                file.set_len(entry.size).context("write", &real)?;
            }
        }
        finish_file(&file, attributes).map(drop).context("set the attributes of", &real)
    }

    fn special(
        &mut self,
        dir: &Arc<OwnedFd>,
        path: &Path,
        special: &Special,
        attributes: &Attributes,
        entry: &Path,
    ) -> Result<()> {
        if matches!(special, Special::Symlink(target) if target.as_os_str().is_empty()) {
            return Err(LayerError::entry(entry, "a symbolic link needs a target"));
        }
        self.put(path, |upper| upper.put_special(dir, path, special, attributes))
    }

    /// Makes something that may replace a directory, which the upper directory does not do by
    /// itself.
    fn put<T>(&mut self, path: &Path, put: impl Fn(&Upper) -> Result<T>) -> Result<T> {
        match put(&self.upper) {
            Err(LayerError::Io { source, .. }) if source.kind() == io::ErrorKind::IsADirectory => {
                self.upper.remove(path)?;
                put(&self.upper)
            }
            result => result,
        }
    }

    fn hardlink(
        &mut self,
        dir: &Arc<OwnedFd>,
        path: &Path,
        target: &[u8],
        entry: &Path,
    ) -> Result<()> {
        let target = PathBuf::from(OsString::from_vec(target.to_vec()));
        let missing = || LayerError::entry(entry, "the target of the hard link is missing");
        let target = self.locate(&target, entry)?.ok_or_else(missing)?;
        if target == path {
            return Ok(());
        }
        if !self.upper.copy_up(&target)? {
            return Err(missing());
        }
        if target.starts_with(path) {
            // Making room for the link would take its target away.
            return Err(missing());
        }
        self.put(path, |upper| upper.put_hardlink(dir, path, &target))
    }

    /// An entry that deletes.
    fn whiteout(
        &mut self,
        parent: &Path,
        base: &OsStr,
        hidden: &OsStr,
        made: &Attributes,
        entry: &Path,
    ) -> Result<()> {
        if base.as_bytes() == OPAQUE {
            self.applied.entries += 1;
            return self.opaque(parent, made);
        }
        if base.as_bytes().starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
            return Err(LayerError::entry(entry, "a whiteout needs a name"));
        }
        let path = parent.join(hidden);
        if self.options.whiteouts == Whiteouts::Remove {
            self.applied.entries += 1;
            return self.remove_older(&path);
        }
        let dir = self.upper.dir(parent, made)?;
        self.hide(&dir, &path)
    }

    /// An entry that is a device with the number of a whiteout.
    fn device_zero(&mut self, dir: &Arc<OwnedFd>, path: &Path, entry: &Path) -> Result<()> {
        if self.options.whiteouts == Whiteouts::Literal {
            let problem = "a character device 0:0 would delete what has its name";
            return Err(LayerError::entry(entry, problem));
        }
        self.hide(dir, path)
    }

    /// Hides what is below `path`, unless this archive itself put something there.
    fn hide(&mut self, dir: &Arc<OwnedFd>, path: &Path) -> Result<()> {
        self.applied.entries += 1;
        if self.options.whiteouts == Whiteouts::Remove {
            return self.remove_older(path);
        }
        match self.upper.stat(path)? {
            None => self.upper.put_whiteout(dir, path),
            Some(meta) if meta.is_dir() => self.upper.set_opaque(path),
            Some(_) => Ok(()),
        }
    }

    fn opaque(&mut self, path: &Path, made: &Attributes) -> Result<()> {
        if self.options.whiteouts == Whiteouts::Remove {
            return match self.upper.merged().lookup(path)? {
                Some(dir) if dir.meta.is_dir() => self.remove_older_below(&dir),
                _ => Ok(()),
            };
        }
        if path.parent().is_none() {
            // The root of a layer always merges, so what it hides has to be named one by one.
            self.applied.opaque_root = true;
            return Ok(());
        }
        self.upper.dir(path, made)?;
        self.upper.set_opaque(path)
    }

    /// Removes what is at `path`, except for what this archive put there.
    fn remove_older(&mut self, path: &Path) -> Result<()> {
        match self.upper.merged().lookup(path)? {
            Some(node) if !self.unpacked.contains(path) => self.upper.remove(&node.path),
            Some(node) if node.meta.is_dir() => self.remove_older_below(&node),
            Some(_) | None => Ok(()),
        }
    }

    fn remove_older_below(&mut self, dir: &Node) -> Result<()> {
        for child in self.upper.merged().children(dir)? {
            self.remove_older(&child.path)?;
        }
        Ok(())
    }

    /// Takes note of an entry that was made.
    fn done(&mut self, path: &Path) {
        self.applied.entries += 1;
        self.plain.take_if(|plain| plain.starts_with(path));
        if self.options.whiteouts == Whiteouts::Remove {
            for path in path.ancestors() {
                if !self.unpacked.insert(path.to_owned()) {
                    break;
                }
            }
        }
    }
}

/// The path without dots and without a root, or `None` when `..` climbs above where it starts.
fn clean(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => return None,
            _ => {}
        }
    }
    Some(clean)
}
