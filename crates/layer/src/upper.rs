//! Writing into an upper directory, so that on top of the layers below it the wanted tree is seen.
//!
//! Three things make that more than writing files: a directory that only exists below has to be
//! copied up, with its owner and mode, before anything can be put into it; symbolic links on the
//! way may lie in any layer; and a directory that comes where a file or a whiteout was must not
//! let the contents of an older directory shine through.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::Context;
use crate::owner::{is_in_user_namespace, owner};
use crate::view::{Node, Resolver, View};
use crate::xattr::{self, Xattrs};
use crate::{Kind, LayerError, Metadata, Result, sys};

/// Seconds and nanoseconds since the epoch.
pub(crate) type Time = (i64, u32);

/// What a file gets besides its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

impl Attributes {
    /// Those of a directory nobody said anything about.
    pub(crate) fn implied_dir(mtime: Time) -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Vec::new() }
    }

    pub(crate) fn of(node: &Node) -> Result<Self> {
        Ok(Self::with_xattrs(node, node.xattrs()?))
    }

    /// Those of a file whose extended attributes are known.
    pub(crate) fn with_xattrs(node: &Node, xattrs: Xattrs) -> Self {
        let Metadata { mode, uid, gid, mtime, mtime_ns, .. } = node.meta;
        Self { mode, uid, gid, mtime: (mtime, mtime_ns), xattrs }
    }
}

/// A file other than a regular file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Special {
    Symlink(PathBuf),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// An upper directory being written.
///
/// All paths it takes are absolute inside the merged tree and *canonical*: without symbolic links,
/// as [`canonical`](Self::canonical) returns them.
pub(crate) struct Upper {
    path: PathBuf,
    root: OwnedFd,
    /// The layers below with the upper directory on top.
    merged: View,
    /// Whether this is a layer, and not a tree of its own.
    layered: bool,
    /// The times of directories, set when nothing is put into them any more.
    times: BTreeMap<PathBuf, Time>,
    /// Directories nobody said anything about.
    implied: BTreeSet<PathBuf>,
    /// The directory that was opened last: archives and trees come directory by directory.
    last: Option<(PathBuf, Arc<OwnedFd>)>,
}

impl Upper {
    pub(crate) fn open(path: &Path, lower: &View) -> Result<Self> {
        let root = sys::open_root(path).context("open directory", path)?;
        Ok(Self {
            path: path.to_owned(),
            root,
            merged: lower.with_top(path),
            layered: true,
            times: BTreeMap::new(),
            implied: BTreeSet::new(),
            last: None,
        })
    }

    /// Opens a directory that is a tree of its own: in it, nothing has to be hidden.
    pub(crate) fn open_flat(path: &Path) -> Result<Self> {
        Ok(Self { layered: false, ..Self::open(path, &View::new(Vec::new()))? })
    }

    /// The tree as it is now.
    pub(crate) fn merged(&self) -> &View {
        &self.merged
    }

    /// Where `path` leads in the tree as it is now; with `follow` unset, without following links.
    pub(crate) fn canonical(&self, path: &Path, follow: bool) -> Result<PathBuf> {
        Ok(Resolver::new(&self.merged).follow(follow).run(path)?.path)
    }

    /// Where a file of the merged tree lies on disk, for messages.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        self.path.join(sys::relative(path))
    }

    /// What the upper directory itself has at `path`.
    pub(crate) fn stat(&self, path: &Path) -> Result<Option<Metadata>> {
        sys::stat_at(&self.root, sys::relative(path)).context("stat", self.real(path))
    }

    /// The attributes for a directory that may exist below, where it keeps the extended attributes
    /// that nothing is said about.
    pub(crate) fn inherit(&self, path: &Path, attributes: &mut Attributes) -> Result<()> {
        let Some(node) = self.merged.lookup(path)? else { return Ok(()) };
        if node.meta.is_dir() {
            let ours = |name: &OsStr| attributes.xattrs.iter().any(|(our, _)| our == name);
            let theirs = node.xattrs()?.into_iter().filter(|(name, _)| !ours(name));
            let theirs: Xattrs = theirs.collect();
            attributes.xattrs.extend(theirs);
        }
        Ok(())
    }

    /// Opens a directory to put something into it. Where it only exists below, it is copied up
    /// with all it has but its contents; where it does not exist, it is made with `made`, and so
    /// are the directories above it.
    ///
    /// # Errors
    /// `ENOTDIR` when there is something else on the way.
    pub(crate) fn dir(&mut self, path: &Path, made: &Attributes) -> Result<Arc<OwnedFd>> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(Arc::clone(fd));
        }
        let fd = match self.touch_dir(path) {
            // A whiteout is no directory, but gives way to one.
            Err(LayerError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.make_dirs(path, made)?;
                self.touch_dir(path)
            }
            result => result,
        };
        let fd = Arc::new(fd?);
        self.last = Some((path.to_owned(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// Opens a directory the upper directory has.
    pub(crate) fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        sys::open_beneath(&self.root, &sys::relative(path), flags)
            .context("open directory", self.real(path))
    }

    /// Opens a directory the upper directory has, to change what is in it. It will be as old as it
    /// was before: when a step was run must not show in its layer.
    fn touch_dir(&mut self, path: &Path) -> Result<OwnedFd> {
        let dir = self.open_dir(path)?;
        if !self.times.contains_key(path) {
            let stat = fs::fstat(&dir).context("stat", self.real(path))?;
            let meta = Metadata::from(stat);
            self.times.insert(path.to_owned(), (meta.mtime, meta.mtime_ns));
        }
        Ok(dir)
    }

    fn make_dirs(&mut self, path: &Path, made: &Attributes) -> Result<()> {
        let mut at = PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let parent = self.open_dir(&at)?;
            at.push(name);
            let real = self.real(&at);
            match sys::stat_at(&parent, name).context("stat", &real)? {
                Some(meta) if meta.is_dir() => continue,
                Some(meta) if !meta.is_whiteout() => {
                    return Err(LayerError::io("create directory", real, Errno::NOTDIR));
                }
                _ => {}
            }
            let below = self.merged.lookup(&at)?;
            let attributes = match &below {
                Some(node) if node.meta.is_dir() => &Attributes::of(node)?,
                _ => {
                    self.implied.insert(at.clone());
                    made
                }
            };
            self.make_dir(&parent, name, attributes.mode).context("create directory", &real)?;
            self.finish_dir(&parent, &at, attributes)?;
        }
        Ok(())
    }

    /// Makes a directory. Where a file or a whiteout was, the new directory hides what the layers
    /// below have in theirs: to whoever removed it, that was gone.
    fn make_dir(&self, parent: impl AsFd, name: &OsStr, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & ORDINARY);
        match fs::mkdirat(&parent, name, mode) {
            Err(Errno::EXIST) => {
                fs::unlinkat(&parent, name, AtFlags::empty())?;
                fs::mkdirat(&parent, name, mode)?;
                if self.layered { xattr::set_opaque(parent, name) } else { Ok(()) }
            }
            result => Ok(result?),
        }
    }

    /// Makes the directory `name` in `parent` or takes over the one that is there, merging with
    /// the one below.
    pub(crate) fn put_dir(
        &mut self,
        parent: impl AsFd,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        let real = self.real(path);
        let is_dir =
            sys::stat_at(&parent, name).context("stat", &real)?.is_some_and(|m| m.is_dir());
        if !is_dir {
            self.make_dir(&parent, name, attributes.mode).context("create directory", &real)?;
        }
        self.implied.remove(path);
        self.finish_dir(parent, path, attributes)
    }

    /// Sets the attributes of a directory of the upper directory.
    pub(crate) fn take_over(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        let parent = self.open_dir(path.parent().unwrap_or(path))?;
        self.finish_dir(parent, path, attributes)
    }

    fn finish_dir(
        &mut self,
        parent: impl AsFd,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        set_attributes(parent, name, Kind::Dir, attributes)
            .context("set the attributes of", self.real(path))?;
        self.times.insert(path.to_owned(), attributes.mtime);
        Ok(())
    }

    /// Sets the time a directory gets in the end.
    pub(crate) fn set_time(&mut self, path: &Path, mtime: Time) {
        self.times.insert(path.to_owned(), mtime);
    }

    /// Makes an empty regular file in `parent`, replacing anything but a directory; it has its
    /// `attributes` when it is [finished](finish_file).
    pub(crate) fn put_file(
        &self,
        parent: impl AsFd,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<File> {
        let name = path.file_name().unwrap_or_default();
        replacing(&parent, name, || create_file(&parent, name, attributes.mode))
            .with_context("create file", || self.real(path))
    }

    /// Makes a symbolic link, device or pipe in `parent`, replacing anything but a directory.
    pub(crate) fn put_special(
        &self,
        parent: impl AsFd,
        path: &Path,
        special: &Special,
        attributes: &Attributes,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        replacing(&parent, name, || create_special(&parent, name, special))
            .context("create", self.real(path))?;
        set_attributes(parent, name, special.kind(), attributes)
            .context("set the attributes of", self.real(path))
    }

    /// Makes `path` in `parent` one more name of the file at `target`, replacing anything but a
    /// directory.
    pub(crate) fn put_hardlink(&self, parent: impl AsFd, path: &Path, target: &Path) -> Result<()> {
        let dir = self.open_dir(target.parent().unwrap_or(target))?;
        self.put_hardlink_in(parent, path, dir, target.file_name().unwrap_or_default())
    }

    /// Makes `path` in `parent` one more name of the file `name` in another directory, replacing
    /// anything but a directory.
    pub(crate) fn put_hardlink_in(
        &self,
        parent: impl AsFd,
        path: &Path,
        dir: impl AsFd,
        name: &OsStr,
    ) -> Result<()> {
        let base = path.file_name().unwrap_or_default();
        replacing(&parent, base, || fs::linkat(&dir, name, &parent, base, AtFlags::empty()))
            .with_context("create hard link", || self.real(path))
    }

    /// Makes `path` in `parent` one more name of an open file, replacing anything but a directory.
    pub(crate) fn put_hardlink_to(
        &self,
        parent: impl AsFd,
        path: &Path,
        file: &File,
    ) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        // Linking by descriptor itself (AT_EMPTY_PATH) takes a capability that rootless has not.
        let target = format!("/proc/self/fd/{}", file.as_raw_fd());
        replacing(&parent, name, || {
            fs::linkat(fs::CWD, target.as_str(), &parent, name, AtFlags::SYMLINK_FOLLOW)
        })
        .context("create hard link", self.real(path))
    }

    /// Hides what the layers below have at `path`, which nothing in the upper directory stands
    /// for yet.
    pub(crate) fn put_whiteout(&self, parent: impl AsFd, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        let device = fs::makedev(0, 0);
        let mode = Mode::empty();
        fs::mknodat(parent, name, FileType::CharacterDevice, mode, device)
            .context("create whiteout", self.real(path))
    }

    /// Hides what the layers below have in a directory of the upper directory.
    pub(crate) fn set_opaque(&self, path: &Path) -> Result<()> {
        let parent = self.open_dir(path.parent().unwrap_or(path))?;
        let name = path.file_name().unwrap_or_default();
        xattr::set_opaque(parent, name).context("make opaque", self.real(path))
    }

    /// Removes what the upper directory has at `path`, with everything below it.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<()> {
        let parent = self.touch_dir(path.parent().unwrap_or(path))?;
        let name = path.file_name().unwrap_or_default();
        remove_tree(parent, name).context("remove", self.real(path))?;
        self.times.retain(|other, _| !other.starts_with(path));
        self.implied.retain(|other| !other.starts_with(path));
        self.last = None;
        Ok(())
    }

    /// Copies a regular file up from the layers below, unless the upper directory has it already.
    /// Returns false when there is nothing at `path`.
    pub(crate) fn copy_up(&mut self, path: &Path) -> Result<bool> {
        let Some(node) = self.merged.lookup(path)? else { return Ok(false) };
        if self.stat(path)?.is_some() {
            return Ok(true);
        }
        let attributes = Attributes::of(&node)?;
        let parent = path.parent().unwrap_or(path);
        let parent = self.dir(parent, &Attributes::implied_dir(attributes.mtime))?;
        match node.meta.kind {
            Kind::File => {
                let source = self.merged.open(&node)?;
                let file = self.put_file(&parent, path, &attributes)?;
                crate::contents::copy(&source, &file, &node.meta)
                    .context("copy up", self.real(path))?;
                finish_file(&file, &attributes).context("copy up", self.real(path))?;
            }
            _ => match Special::of(&node)? {
                Some(special) => self.put_special(&parent, path, &special, &attributes)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Sets what waited for the contents to be complete, and returns the directories that were
    /// made because nobody said anything about them, parents first.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        for (path, mtime) in &self.times {
            let set = || -> io::Result<()> {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let dir = sys::open_beneath(&self.root, &sys::relative(path), flags)?;
                Ok(fs::futimens(&dir, &timestamps(*mtime))?)
            };
            set().context("set the time of", self.real(path))?;
        }
        Ok(self.implied.into_iter().collect())
    }
}

impl Special {
    /// What kind of special file a node is; `None` for files, directories and sockets.
    pub(crate) fn of(node: &Node) -> Result<Option<Self>> {
        let (major, minor) = node.meta.rdev;
        Ok(match node.meta.kind {
            Kind::Symlink => Some(Self::Symlink(node.link_target()?)),
            Kind::CharDevice => Some(Self::CharDevice(major, minor)),
            Kind::BlockDevice => Some(Self::BlockDevice(major, minor)),
            Kind::Fifo => Some(Self::Fifo),
            Kind::File | Kind::Dir | Kind::Socket => None,
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Symlink(_) => Kind::Symlink,
            Self::CharDevice(..) => Kind::CharDevice,
            Self::BlockDevice(..) => Kind::BlockDevice,
            Self::Fifo => Kind::Fifo,
        }
    }
}

/// Makes something new, if need be in the place of a file. `EISDIR` when a directory is there.
fn replacing<T>(
    parent: impl AsFd,
    name: &OsStr,
    create: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    // Of two exports into one directory, one may be quicker to fill a place that was made free, but not
    // for ever: it has an end.
    loop {
        match create() {
            Err(Errno::EXIST) => match fs::unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            },
            result => return Ok(result?),
        }
    }
}

/// What of a mode a file may have before it has its owner.
const ORDINARY: u32 = 0o777;

/// With the mode it will have, as far as the umask lets through: setting it later writes the inode
/// once more.
fn create_file(parent: impl AsFd, name: &OsStr, mode: u32) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::from_raw_mode(mode & ORDINARY)).map(File::from)
}

/// Sets what a file that is written does not have yet of everything but its contents; returns what
/// it is then. The order matters: changing the owner clears the setuid bit and the capabilities,
/// and only then come the times.
pub(crate) fn finish_file(file: &File, attributes: &Attributes) -> io::Result<Metadata> {
    let mut meta = Metadata::from(fs::fstat(file)?);
    let Attributes { mode, mtime, .. } = *attributes;
    let (uid, gid) = owner(attributes.uid, attributes.gid);
    if (meta.uid, meta.gid) != (uid, gid) {
        fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    if meta.mode != mode {
        fs::fchmod(file, Mode::from_raw_mode(mode))?;
    }
    xattr::set(file, &attributes.xattrs)?;
    fs::futimens(file, &timestamps(mtime))?;
    (meta.uid, meta.gid, meta.mode, (meta.mtime, meta.mtime_ns)) = (uid, gid, mode, mtime);
    Ok(meta)
}

fn create_special(parent: impl AsFd, name: &OsStr, special: &Special) -> rustix::io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    let device = |kind, major, minor| {
        match fs::mknodat(&parent, name, kind, mode, fs::makedev(major, minor)) {
            // Containers get their devices from elsewhere; a file keeps the place.
            Err(Errno::PERM) if kind != FileType::Fifo && is_in_user_namespace() => {
                fs::mknodat(&parent, name, FileType::RegularFile, mode, 0)
            }
            made => made,
        }
    };
    match special {
        Special::Symlink(target) => fs::symlinkat(target, &parent, name),
        Special::CharDevice(major, minor) => device(FileType::CharacterDevice, *major, *minor),
        Special::BlockDevice(major, minor) => device(FileType::BlockDevice, *major, *minor),
        Special::Fifo => device(FileType::Fifo, 0, 0),
    }
}

/// Sets the attributes of anything but a regular file.
fn set_attributes(
    parent: impl AsFd,
    name: &OsStr,
    kind: Kind,
    attributes: &Attributes,
) -> io::Result<()> {
    let meta = Metadata::from(fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?);
    let mode = attributes.mode;
    let (uid, gid) = owner(attributes.uid, attributes.gid);
    let is_given = (meta.uid, meta.gid) != (uid, gid);
    if is_given {
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fs::chownat(&parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // Giving a file away may have cleared bits.
    if kind != Kind::Symlink && (is_given || meta.mode != mode) {
        // Follows links, but this was just made, as something else, in a directory nobody else
        // writes to.
        fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    xattr::set_at(&parent, name, &attributes.xattrs)?;
    if kind == Kind::Dir {
        // Its time comes when nothing is put into it any more.
        return Ok(());
    }
    let times = timestamps(attributes.mtime);
    Ok(fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn remove_tree(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return Ok(result?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let dir = sys::open_beneath(&parent, Path::new(name), flags)?;
    for entry in sys::names(&dir)?.iter() {
        remove_tree(&dir, sys::text(entry))?;
    }
    Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// The access time follows the modification time: no layer keeps it, and reading the clock would
/// only leave something random behind.
fn timestamps((seconds, nanos): Time) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_may_write_to_the_same_place() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let parent = File::open(dir.path())?;
        let name = OsStr::new("file");
        let write = || -> io::Result<()> {
            (0..500).try_for_each(|_| {
                replacing(&parent, name, || create_file(&parent, name, 0o644)).map(drop)
            })
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(write);
            write()?;
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        std::fs::create_dir(dir.path().join("dir"))?;
        let result = replacing(&parent, OsStr::new("dir"), || {
            create_file(&parent, OsStr::new("dir"), 0o644)
        });
        assert_eq!(result.err().and_then(|e| e.raw_os_error()), Some(Errno::ISDIR.raw_os_error()));
        Ok(())
    }
}
