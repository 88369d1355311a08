//! The merged view of a stack of layer directories, without mounting them.
//!
//! The rules are those of the kernel (Documentation/filesystems/overlayfs.rst): the topmost file
//! of a name wins; directories of the same name merge until something that is no directory, a
//! whiteout or an opaque directory ends the stack below. `redirect_dir` and `metacopy` are never
//! switched on for our mounts, so a file is under the same relative path in every layer.
//!
//! Symbolic links are resolved as a process chrooted into the view would see them: `..` stops at
//! the root and absolute links begin there, so no path leads out of the tree.

mod filter;
mod merge;
mod open;
mod resolve;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

pub use filter::{Filter, Verdict};
pub(crate) use open::Opener;
pub(crate) use resolve::Resolver;
pub use walk::Walk;

use crate::error::Context;
use crate::{LayerError, Metadata, Result, sys, xattr};

/// A stack of layer directories, or one ordinary directory, seen as a single tree.
///
/// Nothing is read ahead or remembered: the view always shows what is on disk now. Cloning is
/// cheap. A view keeps one file descriptor open for every layer it has looked into.
#[derive(Clone)]
pub struct View {
    /// Topmost first.
    layers: Arc<[Arc<Layer>]>,
    /// Whether whiteouts and opaque directories have a meaning.
    overlay: bool,
    filter: Option<Filter>,
}

/// How files are opened for reading. `O_NONBLOCK`: a pipe put in the place of the file must not hang
/// us; it has no effect on regular files.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW);

/// One directory of the stack.
#[derive(Debug)]
struct Layer {
    path: PathBuf,
    /// Opened when it is first needed, and then kept: most files are found through it.
    root: OnceLock<OwnedFd>,
}

/// One file of a [`View`].
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the file is inside the view: absolute and without symbolic links on the way.
    pub path: PathBuf,
    /// Its metadata; of a merged directory, that of the topmost part.
    pub meta: Metadata,
    /// The layers that hold a part of a directory, topmost first. Empty for all else.
    parts: Vec<usize>,
    /// The layer it is in; of a merged directory, the topmost part.
    layer: Arc<Layer>,
}

impl View {
    /// The view of a stack of overlayfs layer directories, lowest first. Without any layer there
    /// is nothing to be found, not even the root, but listing the root is no error.
    pub fn new(mut layers: Vec<PathBuf>) -> Self {
        layers.reverse();
        Self { layers: layers.into_iter().map(Layer::new).collect(), overlay: true, filter: None }
    }

    /// The view of one ordinary directory, such as a build context, in which nothing is a
    /// whiteout.
    pub fn plain(dir: impl Into<PathBuf>) -> Self {
        Self { layers: Arc::new([Layer::new(dir.into())]), overlay: false, filter: None }
    }

    /// The same tree without what `filter` hides, such as files named in `.dockerignore`.
    #[must_use]
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// The same stack with one more layer on top.
    #[must_use]
    pub fn with_top(&self, layer: impl Into<PathBuf>) -> Self {
        let top = Layer::new(layer.into());
        let layers = std::iter::once(top).chain(self.layers.iter().cloned()).collect();
        Self { layers, ..self.clone() }
    }

    /// The file at `path`. The links on the way are followed, the last component is not.
    ///
    /// # Errors
    /// Besides I/O errors, [`LayerError::SymlinkLoop`].
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Option<Node>> {
        self.visible(Resolver::new(self).follow_last(false).run(path.as_ref())?.node)
    }

    /// The file that `path` leads to after following every symbolic link.
    ///
    /// # Errors
    /// Besides I/O errors, [`LayerError::SymlinkLoop`].
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Option<Node>> {
        self.visible(Resolver::new(self).run(path.as_ref())?.node)
    }

    /// The absolute path without symbolic links that `path` leads to, whether it exists or not:
    /// from the first missing component on, the rest is taken as it is written.
    ///
    /// # Errors
    /// Besides I/O errors, [`LayerError::SymlinkLoop`].
    pub fn canonical(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        Ok(Resolver::new(self).run(path.as_ref())?.path)
    }

    /// The entries of the directory that `path` leads to, sorted by the bytes of their names.
    ///
    /// # Errors
    /// [`LayerError::Io`] when there is no such directory.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<Node>> {
        let path = path.as_ref();
        let problem = match self.resolve(path)? {
            Some(node) if node.meta.is_dir() => return self.children(&node),
            Some(_) => io::ErrorKind::NotADirectory,
            None if self.layers.is_empty() && self.canonical(path)? == Path::new("/") => {
                return Ok(Vec::new());
            }
            None => io::ErrorKind::NotFound,
        };
        Err(LayerError::io("read directory", path, problem))
    }

    /// Whether `dir`, a directory of this view, is made of the same parts as `other_dir` of `other`: then
    /// everything below is the same, too.
    pub(crate) fn is_same_dir(&self, dir: &Node, other: &Self, other_dir: &Node) -> bool {
        let paths = |view: &'_ Self, dir: &Node| -> Vec<PathBuf> {
            dir.parts.iter().map(|&layer| view.layers[layer].path.clone()).collect()
        };
        dir.meta.is_dir()
            && dir.path == other_dir.path
            && !self.is_filtered()
            && !other.is_filtered()
            && paths(self, dir) == paths(other, other_dir)
    }

    /// Opens a regular file of the view for reading.
    ///
    /// # Errors
    /// [`LayerError::Io`]; with `ELOOP` when a part of the path was replaced by a symbolic link
    /// since `node` was found.
    pub fn open(&self, node: &Node) -> Result<File> {
        sys::open_beneath(node.layer.root()?, node.relative(), READ)
            .map(File::from)
            .with_context("open", || node.real())
    }

    /// The contents of the regular file that `path` leads to, or `None` when there is none.
    ///
    /// # Errors
    /// [`LayerError::TooLarge`] when it is longer than `limit` bytes.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(node) = self.resolve(path)? else { return Ok(None) };
        if node.meta.kind != crate::Kind::File {
            return Ok(None);
        }
        let mut contents = Vec::new();
        self.open(&node)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut contents)
            .context("read", node.real())?;
        if contents.len() as u64 > limit {
            return Err(LayerError::TooLarge { path: node.path, limit });
        }
        Ok(Some(contents))
    }
}

impl Layer {
    fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, root: OnceLock::new() })
    }

    fn root(&self) -> Result<&OwnedFd> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let root = sys::open_root(&self.path).context("open directory", &self.path)?;
        Ok(self.root.get_or_init(|| root))
    }

    /// Where a file of the view would be in this layer.
    fn real(&self, path: &Path) -> PathBuf {
        self.path.join(sys::relative(path))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<_> = self.layers.iter().map(|layer| &layer.path).collect();
        f.debug_struct("View")
            .field("layers", &layers)
            .field("overlay", &self.overlay)
            .field("filtered", &self.filter.is_some())
            .finish()
    }
}

impl Node {
    /// Where the file lies on disk; of a merged directory, the topmost part.
    pub fn real(&self) -> PathBuf {
        self.layer.path.join(self.relative())
    }

    /// Its path without the root, as openat(2) and filters take it; empty for the root.
    pub fn relative(&self) -> &Path {
        sys::unrooted(&self.path)
    }

    /// The last component of its path; empty for the root.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Whether this is a directory that hides what the layers below its own have in theirs.
    ///
    /// # Errors
    /// [`LayerError::Io`].
    pub fn is_opaque(&self) -> Result<bool> {
        let real = self.real();
        Ok(self.meta.is_dir()
            && xattr::is_opaque(&real).context("read the attributes of", &real)?)
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// [`LayerError::Io`], also when this is no symbolic link.
    pub fn link_target(&self) -> Result<PathBuf> {
        let target = rustix::fs::readlink(self.real(), Vec::new());
        let target = target.context("read symbolic link", self.real())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Name and value of the extended attributes that belong to an image, sorted by name:
    /// `security.capability` and `user.*`, but none that overlayfs keeps for itself.
    ///
    /// # Errors
    /// [`LayerError::Io`].
    pub fn xattrs(&self) -> Result<Vec<(OsString, Vec<u8>)>> {
        let real = self.real();
        xattr::kept(&real).context("read the extended attributes of", &real)
    }
}
