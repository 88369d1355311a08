//! Copying files into and out of containers.
//!
//! Everything travels as a tar: one side packs it, the other unpacks it. Of a container that runs, the
//! files are those it sees, mounts included; every one of them is opened by openat2(2) below its root
//! without following a link that was put there meanwhile, and no program of the container has a part
//! in it. Of one that does not run, they are its layers and, where they would be mounted, its volumes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bld_layer::{ApplyOptions, Kind, LayerError, Node, View, Whiteouts, apply, write_file};
use bld_store::{ContainerLayer, StoreError};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::model::{Container, Mount, MountSource};
use super::remove::PATIENCE;
use crate::error::IoContext as _;
use crate::events::Event;
use crate::{Engine, EngineError, Result};

/// As many symbolic links as the kernel follows.
const MOST_LINKS: usize = 40;

/// How files are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Owners are kept; otherwise everything is root's in a container, and on the host the caller's.
    pub archive: bool,
    /// A source that is a symbolic link stands for what it leads to.
    pub follow: bool,
}

/// A path as somebody wrote it: what its end says counts.
#[derive(Debug, Clone)]
struct Written {
    path: PathBuf,
    /// It ends with a slash, or a dot behind one: it has to be a directory.
    is_dir: bool,
    /// It ends with a dot behind a slash: what is in the directory is meant.
    contents: bool,
}

impl Written {
    fn new(path: &Path) -> Self {
        let text = path.as_os_str().as_encoded_bytes();
        let contents = text.ends_with(b"/.") || text == b".";
        Self { path: path.to_owned(), is_dir: contents || text.ends_with(b"/"), contents }
    }

    fn base(&self) -> OsString {
        self.path.file_name().unwrap_or_default().to_owned()
    }
}

/// A tree that files are read from and written to.
struct Tree {
    view: View,
    /// The directory that is written to, and what is below it.
    upper: PathBuf,
    lower: Option<View>,
    /// Why nothing can be written.
    sealed: Option<&'static str>,
    /// What the paths lead through.
    _root: Option<OwnedFd>,
    _layer: Option<ContainerLayer>,
}

impl Tree {
    /// A directory that is there, by descriptor: its path cannot come to mean something else.
    fn plain(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(path, flags, Mode::empty()).at("open", path)?;
        let dir = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        Ok(Self {
            view: View::plain(dir.clone()),
            upper: dir,
            lower: None,
            sealed: None,
            _root: Some(root),
            _layer: None,
        })
    }

    /// An error about a path as whoever looks into the tree calls it, not by the way that led there.
    fn bare(&self, error: LayerError) -> LayerError {
        match error {
            LayerError::Io { action, path, source } => {
                let rest = path.strip_prefix(&self.upper).map(|rest| Path::new("/").join(rest));
                LayerError::Io { action, path: rest.unwrap_or(path), source }
            }
            other => other,
        }
    }

    /// The file that a path leads to, with or without what it leads to if it is a link.
    fn find(&self, path: &Path, follow: bool) -> std::result::Result<Option<Node>, LayerError> {
        let found = if follow { self.view.resolve(path) } else { self.view.lookup(path) };
        found.map_err(|error| self.bare(error))
    }

    /// Unpacks a tar into the directory `dir`.
    fn unpack(
        &self,
        dir: &Path,
        tar: &mut dyn Read,
        owner: Option<(u32, u32)>,
    ) -> std::result::Result<(), LayerError> {
        let options = ApplyOptions {
            whiteouts: Whiteouts::Literal,
            owner,
            flat: self.lower.is_none(),
            lower: self.lower.clone(),
            prefix: dir.strip_prefix("/").unwrap_or(dir).to_owned(),
            ..ApplyOptions::default()
        };
        apply(tar, &self.upper, &options).map(drop)
    }
}

impl Engine {
    /// Copies a file of a container to the host, to a new name or into a directory; how many bytes.
    pub fn copy_from_container(
        &self,
        name: &str,
        source: &Path,
        dest: &Path,
        options: CopyOptions,
    ) -> Result<u64> {
        let container = self.find_container(name)?;
        let written = Written::new(source);
        let (tree, node) = self.source(&container, &written, options.follow)?;
        let dest = Written::new(dest);
        let known = std::fs::metadata(&dest.path).ok();
        if let Some(other) = known.as_ref().filter(|known| !known.is_dir() && !known.is_file()) {
            return Err(not_to(&dest.path, other.file_type()));
        }
        let found = known.as_ref().map(std::fs::Metadata::is_dir);
        let (dir, base) = place(&written, node.meta.is_dir(), &dest, found)?;
        let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
        let owner = (!options.archive)
            .then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        let host = Tree::plain(&dir)?;
        let failed = |source| copy_failed(&container.name, source);
        let copied = transfer(&tree, &node, &base, |tar| host.unpack(Path::new("/"), tar, owner))
            .map_err(|error| failed(host.bare(tree.bare(error))))?;
        self.announce_copy(&container, "archive-path", source);
        Ok(copied)
    }

    /// Writes a file of a container, a directory with all that is in it, as a tar.
    pub fn copy_out(
        &self,
        name: &str,
        source: &Path,
        follow: bool,
        out: &mut dyn Write,
    ) -> Result<()> {
        let container = self.find_container(name)?;
        let written = Written::new(source);
        let (tree, node) = self.source(&container, &written, follow)?;
        let base = if written.contents { ".".into() } else { written.base() };
        let base = if base.is_empty() { ".".into() } else { base };
        write_file(&tree.view, &node, Path::new(&base), out)
            .map_err(|error| copy_failed(&container.name, tree.bare(error)))?;
        self.announce_copy(&container, "archive-path", source);
        Ok(())
    }

    /// Copies a file of the host into a container, to a new name or into a directory; how many bytes.
    pub fn copy_to_container(
        &self,
        source: &Path,
        name: &str,
        dest: &Path,
        options: CopyOptions,
    ) -> Result<u64> {
        let container = self.find_container(name)?;
        let written = Written::new(source);
        let what = format!("lstat {}: no such file or directory", source.display());
        let missing = || EngineError::Invalid { what };
        let real = if options.follow || written.is_dir {
            std::fs::canonicalize(source)
        } else {
            let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = std::fs::canonicalize(parent.unwrap_or(Path::new(".")));
            parent.map(|parent| parent.join(source.file_name().unwrap_or_default()))
        };
        let real = match real {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            real => real.at("lstat", source)?,
        };
        // The root has no parent to look it up in.
        let parent = real.parent().unwrap_or(&real);
        let host = Tree::plain(parent)?;
        let node =
            host.find(Path::new("/").join(real.file_name().unwrap_or_default()).as_path(), false);
        let node = node.map_err(|source| copy_failed(&container.name, source))?;
        let node = node.ok_or_else(missing)?;
        if written.is_dir && !node.meta.is_dir() {
            return Err(std::io::Error::from(Errno::NOTDIR)).at("stat", source);
        }
        let dest = Written::new(dest);
        let (tree, at) = self.tree(&container, &dest.path, true)?;
        let found = tree.find(&at, true).map_err(|source| copy_failed(&container.name, source))?;
        let found = found.map(|node| node.meta.is_dir());
        let named = Written { path: at, ..dest };
        let from = Written { path: real.clone(), ..written };
        let (dir, base) = place(&from, node.meta.is_dir(), &named, found)?;
        let dir = directory(&container, &tree, &dir)?;
        let owner = (!options.archive).then_some((0, 0));
        let copied = transfer(&host, &node, &base, |tar| tree.unpack(&dir, tar, owner))
            .map_err(|error| copy_failed(&container.name, tree.bare(host.bare(error))))?;
        self.announce_copy(&container, "extract-to-dir", &dir);
        Ok(copied)
    }

    fn announce_copy(&self, container: &Container, action: &str, path: &Path) {
        let event = Event::container(container, action);
        self.announce([event.with("path", path.display().to_string())]);
    }

    /// Unpacks a tar into a directory of a container.
    pub fn copy_in(&self, name: &str, dest: &Path, tar: &mut dyn Read) -> Result<()> {
        let container = self.find_container(name)?;
        let (tree, at) = self.tree(&container, dest, true)?;
        let found = tree.find(&at, true).map_err(|source| copy_failed(&container.name, source))?;
        if !found.is_some_and(|node| node.meta.is_dir()) {
            let dest = dest.display();
            let what = format!("destination \"{name}:{dest}\" must be a directory");
            return Err(EngineError::Invalid { what });
        }
        let dir = directory(&container, &tree, &at)?;
        tree.unpack(&dir, tar, None)
            .map_err(|error| copy_failed(&container.name, tree.bare(error)))?;
        self.announce_copy(&container, "extract-to-dir", &dir);
        Ok(())
    }

    /// A file that is to be copied out of a container.
    fn source(
        &self,
        container: &Container,
        written: &Written,
        follow: bool,
    ) -> Result<(Tree, Node)> {
        let missing = || EngineError::NoSuchFile {
            path: written.path.clone(),
            container: container.name.clone(),
        };
        // A link with a slash behind it is what it leads to.
        let follow = follow || written.is_dir;
        let (tree, at) = self.tree(container, &written.path, follow)?;
        let node = tree.find(&at, follow).map_err(|source| copy_failed(&container.name, source))?;
        let node = node.ok_or_else(missing)?;
        if written.is_dir && !node.meta.is_dir() {
            return Err(missing());
        }
        Ok((tree, node))
    }

    /// The tree that has a path of a container, and the path in it.
    fn tree(&self, container: &Container, path: &Path, follow: bool) -> Result<(Tree, PathBuf)> {
        let path = Path::new("/").join(path);
        let end = Instant::now() + PATIENCE;
        let mut now = Cow::Borrowed(container);
        let layer = loop {
            if let Some(tree) = running_tree(&now, &path)? {
                return Ok((tree, path));
            }
            match self.store()?.container_layer(&container.id) {
                // It has just ended and is not let go of yet, or it was started again.
                Err(StoreError::SnapshotInUse { .. }) if Instant::now() < end => {}
                layer => break layer?,
            }
            thread::sleep(Duration::from_millis(1));
            now = Cow::Owned(self.find_container(&container.id)?);
        };
        let lower = View::new(layer.layers().to_vec());
        let view = lower.with_top(layer.upper());
        let find = |path: &Path| view.lookup(path);
        let (mount, path) = through_mounts(&container.mounts, &find, &path, follow)
            .map_err(|source| copy_failed(&container.name, source))?;
        let Some(mount) = mount else {
            let tree = Tree {
                view,
                upper: layer.upper().to_owned(),
                lower: Some(lower),
                sealed: sealed(container, None),
                _root: None,
                _layer: Some(layer),
            };
            return Ok((tree, path));
        };
        let (dir, path) = match &mount.source {
            MountSource::Volume { name, subpath, .. } => {
                let below = Path::new("/").join(subpath.as_deref().unwrap_or_default());
                (self.volume(name)?.data, below.join(path.strip_prefix("/").unwrap_or(&path)))
            }
            // A file that is mounted alone is found by its name.
            MountSource::Bind { path: source, .. } if !source.is_dir() => {
                let parent = source.parent().unwrap_or(Path::new("/")).to_owned();
                (parent, Path::new("/").join(source.file_name().unwrap_or_default()))
            }
            MountSource::Bind { path: source, .. } => (source.clone(), path),
            // What was in memory is gone, and there is nothing to put anything into.
            MountSource::Tmpfs { .. } => {
                let what =
                    format!("{} is a tmpfs, which is there while the container runs", mount.target);
                return Err(EngineError::Invalid { what });
            }
            MountSource::Image { name, .. } => {
                let target = &mount.target;
                let what =
                    format!("{target} is image {name}, which is there while the container runs");
                return Err(EngineError::Invalid { what });
            }
        };
        let mut tree = Tree::plain(&dir)?;
        tree.sealed = sealed(container, Some(mount));
        Ok((tree, path))
    }
}

/// Why nothing is copied to a device or the like of the host, which the copy would take the place of.
fn not_to(path: &Path, kind: std::fs::FileType) -> EngineError {
    use std::os::unix::fs::FileTypeExt as _;
    let got = match kind {
        kind if kind.is_fifo() => "named pipe",
        kind if kind.is_socket() => "socket",
        _ => "device",
    };
    let path = path.display();
    let what = format!(
        "invalid output path: \"{path}\" must be a directory or a regular file: got a {got}"
    );
    EngineError::Invalid { what }
}

/// The tree of a container that runs, as its processes see it; none if it does not run any more.
fn running_tree(container: &Container, path: &Path) -> Result<Option<Tree>> {
    let Some(process) = container.state.process.filter(|p| p.is_alive()) else { return Ok(None) };
    let under = |mount: &&Mount| path.starts_with(&mount.target);
    let mount = container.mounts.iter().filter(under).max_by_key(|m| m.target.len());
    match Tree::plain(Path::new(&format!("/proc/{}/root", process.pid))) {
        Ok(tree) if process.is_alive() => {
            Ok(Some(Tree { sealed: sealed(container, mount), ..tree }))
        }
        // It ended meanwhile, which takes its root before its state.
        Ok(_) => Ok(None),
        Err(EngineError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory of a container that is to be written to, without links.
fn directory(container: &Container, tree: &Tree, dir: &Path) -> Result<PathBuf> {
    if let Some(sealed) = tree.sealed {
        return Err(EngineError::Invalid { what: sealed.to_owned() });
    }
    let found = tree.find(dir, true).map_err(|source| copy_failed(&container.name, source))?;
    match found {
        Some(node) if node.meta.is_dir() => Ok(node.path),
        _ => {
            Err(EngineError::NoSuchFile { path: dir.to_owned(), container: container.name.clone() })
        }
    }
}

/// Why nothing is written below a mount, or to the root.
fn sealed(container: &Container, mount: Option<&Mount>) -> Option<&'static str> {
    match mount {
        Some(mount) => mount.read_only.then_some("mounted volume is marked read-only"),
        None => container.host.read_only.then_some("container rootfs is marked read-only"),
    }
}

/// Follows a path until it enters a mount; the mount, and the path below it. Links lead where they
/// would in the container.
fn through_mounts<'a>(
    mounts: &'a [Mount],
    find: &dyn Fn(&Path) -> std::result::Result<Option<Node>, LayerError>,
    path: &Path,
    follow: bool,
) -> std::result::Result<(Option<&'a Mount>, PathBuf), LayerError> {
    let names = |path: &Path| -> VecDeque<OsString> {
        path.components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_owned()),
                Component::ParentDir => Some("..".into()),
                _ => None,
            })
            .collect()
    };
    let mut left = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        if let Some(mount) = mounts.iter().find(|mount| Path::new(&mount.target) == at) {
            let rest = Path::new("/").join(left.iter().collect::<PathBuf>());
            return Ok((Some(mount), rest));
        }
        if left.is_empty() && !follow {
            break;
        }
        let Some(node) = find(&at)?.filter(|node| node.meta.kind == Kind::Symlink) else {
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(LayerError::SymlinkLoop { path: path.to_owned() });
        }
        let target = node.link_target()?;
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        let mut next = names(&target);
        next.extend(left);
        left = next;
    }
    Ok((None, at))
}

/// Into which directory a source goes, and how it is called there, by docker's rules. `found` says of
/// the destination whether it is a directory, if it exists.
fn place(
    source: &Written,
    source_is_dir: bool,
    dest: &Written,
    found: Option<bool>,
) -> Result<(PathBuf, OsString)> {
    let invalid = |what: String| Err(EngineError::Invalid { what });
    let parent = || dest.path.parent().unwrap_or(Path::new("/")).to_owned();
    match found {
        Some(true) if source.contents || source.base().is_empty() => {
            Ok((dest.path.clone(), ".".into()))
        }
        Some(true) => Ok((dest.path.clone(), source.base())),
        Some(false) if source_is_dir || dest.is_dir => {
            invalid(format!("cannot copy directory: {} is a file", dest.path.display()))
        }
        None if dest.is_dir && !source_is_dir => {
            invalid(format!("no such directory: {}", dest.path.display()))
        }
        Some(false) | None => Ok((parent(), dest.base())),
    }
}

/// Packs a file under the name `base` on a thread, for `unpack` to read; how many bytes of tar.
fn transfer(
    from: &Tree,
    node: &Node,
    base: &OsString,
    unpack: impl FnOnce(&mut dyn Read) -> std::result::Result<(), LayerError>,
) -> std::result::Result<u64, LayerError> {
    let stream = |source| LayerError::Stream { action: "copy", source };
    let (mut read, mut write) = std::io::pipe().map_err(stream)?;
    thread::scope(|scope| {
        let packing =
            scope.spawn(move || write_file(&from.view, node, Path::new(base), &mut write));
        let unpacked = unpack(&mut read);
        // Otherwise the other side would wait for room.
        drop(read);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Who could not unpack knows why; the other one only that nobody reads.
        unpacked?;
        packed.map(|stats| stats.bytes)
    })
}

fn copy_failed(container: &str, source: LayerError) -> EngineError {
    EngineError::Copy { container: container.to_owned(), source }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn placed(
        source: &str,
        is_dir: bool,
        dest: &str,
        found: Option<bool>,
    ) -> Option<(String, String)> {
        let (source, dest) = (Written::new(Path::new(source)), Written::new(Path::new(dest)));
        let (dir, base) = place(&source, is_dir, &dest, found).ok()?;
        Some((dir.display().to_string(), base.into_string().unwrap()))
    }

    #[test]
    fn a_source_goes_where_docker_puts_it() {
        let at = |dir: &str, base: &str| Some((dir.to_owned(), base.to_owned()));
        assert_eq!(placed("/a/f", false, "/d", Some(true)), at("/d", "f"));
        assert_eq!(placed("/a/f", false, "/d/g", None), at("/d", "g"));
        assert_eq!(placed("/a/f", false, "/d/g", Some(false)), at("/d", "g"));
        assert_eq!(placed("/a/f", false, "/d/g/", None), None);
        assert_eq!(placed("/a", true, "/d", Some(true)), at("/d", "a"));
        assert_eq!(placed("/a/.", true, "/d", Some(true)), at("/d", "."));
        assert_eq!(placed("/a/.", true, "/d/new", None), at("/d", "new"));
        assert_eq!(placed("/a", true, "/d/new/", None), at("/d", "new"));
        assert_eq!(placed("/a", true, "/d/f", Some(false)), None);
    }

    #[test]
    fn links_are_followed_into_mounts() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        std::fs::create_dir_all(root.join("srv/deep")).unwrap();
        std::os::unix::fs::symlink("/srv/data", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../srv", root.join("srv/up")).unwrap();
        let view = View::plain(root);
        let source =
            MountSource::Volume { name: "v".into(), anonymous: false, copy: false, subpath: None };
        let mounts = [Mount { source, target: "/srv/data".into(), read_only: false }];
        let find = |path: &Path| view.lookup(path);
        let through = |path: &str, follow: bool| {
            let found = through_mounts(&mounts, &find, Path::new(path), follow).unwrap();
            (found.0.is_some(), found.1.display().to_string())
        };
        assert_eq!(through("/srv/data/x", false), (true, "/x".to_owned()));
        assert_eq!(through("/link/x/y", false), (true, "/x/y".to_owned()));
        assert_eq!(through("/srv/up/up/data", false), (true, "/".to_owned()));
        assert_eq!(through("/link", false), (false, "/link".to_owned()));
        assert_eq!(through("/link", true), (true, "/".to_owned()));
        assert_eq!(through("/../srv/./deep", true), (false, "/srv/deep".to_owned()));
    }
}
