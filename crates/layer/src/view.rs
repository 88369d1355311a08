//! The merged view of a stack of layer directories.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Metadata, Result};

/// What a [`Filter`] says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The path is there.
    Take,
    /// The path, and everything below it, is not there.
    Skip,
    /// A directory that is not selected itself, but may hold something that is: it is there only
    /// when something below it is taken.
    Descend,
}

/// Hides part of a tree. Called with a path relative to the root of the tree and whether it is a
/// directory.
pub type Filter = Arc<dyn Fn(&Path, bool) -> Verdict + Send + Sync>;

/// What [`View::walk`] does after a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Goes on, into the node when it is a directory.
    Into,
    /// Goes on past the node.
    Past,
    /// Ends the walk.
    Stop,
}

/// A merged tree.
#[derive(Debug, Clone)]
pub struct View {}


/// One file of a [`View`].
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the file is inside the view: absolute, without symbolic links on the way.
    pub path: PathBuf,
    /// Where the file lies on disk. Of a merged directory, the topmost part.
    pub real: PathBuf,
    /// Its metadata; of a merged directory, that of the topmost part.
    pub meta: Metadata,
}

impl View {
    /// The view of a stack of overlayfs layer directories, lowest first.
    pub fn new(layers: Vec<PathBuf>) -> Self {
        todo!("{layers:?}")
    }
    /// The view of one ordinary directory, in which nothing is a whiteout.
    pub fn plain(dir: PathBuf) -> Self {
        todo!("{dir:?}")
    }
    /// The same view with part of it hidden.
    pub fn with_filter(self, filter: Filter) -> Self {
        let _ = filter;
        todo!()
    }
    /// The file at `path`; does not follow the last component.
    pub fn lookup(&self, path: impl AsRef<Path>) -> Result<Option<Node>> {
        todo!("{:?}", path.as_ref())
    }
    /// The file at `path` after following every symbolic link.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Option<Node>> {
        todo!("{:?}", path.as_ref())
    }
    /// The absolute path without symbolic links that `path` leads to, whether it exists or not.
    pub fn canonical(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        todo!("{:?}", path.as_ref())
    }
    /// The merged entries of a directory, sorted by name.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<Node>> {
        todo!("{:?}", path.as_ref())
    }
    /// The merged entries of a directory that was found before.
    pub fn children(&self, dir: &Node) -> Result<Vec<Node>> {
        todo!("{dir:?}")
    }
    /// Opens a regular file for reading.
    pub fn open(&self, node: &Node) -> Result<File> {
        todo!("{node:?}")
    }
    /// The contents of the file `path` leads to.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
        todo!("{:?} {limit}", path.as_ref())
    }
    /// Visits everything below `path`, parents first, sorted.
    pub fn walk(
        &self,
        path: impl AsRef<Path>,
        visit: &mut dyn FnMut(&Node) -> Result<Walk>,
    ) -> Result<()> {
        let _ = visit;
        todo!("{:?}", path.as_ref())
    }
    /// The files exactly `levels` below `base` whose name at every level matches.
    pub fn glob(
        &self,
        base: impl AsRef<Path>,
        levels: usize,
        matches: &dyn Fn(usize, &OsStr) -> bool,
    ) -> Result<Vec<Node>> {
        let _ = matches;
        todo!("{:?} {levels}", base.as_ref())
    }
}

impl Node {
    /// The last component of its path.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
    /// The text of a symbolic link.
    pub fn link_target(&self) -> Result<PathBuf> {
        todo!()
    }
    /// The extended attributes that belong to an image, sorted by name.
    pub fn xattrs(&self) -> Result<Vec<(OsString, Vec<u8>)>> {
        todo!()
    }
}
