//! The file-level engine of COPY and ADD.
#![expect(missing_docs, clippy::todo, unused_variables, reason = "being written")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bld_oci::Digest;

use crate::{Filter, LayerError, Node, StatCache, View};

/// One source as [`select`] found it.
#[derive(Clone)]
pub struct Item {
    /// The file or directory, symbolic links already followed.
    pub node: Node,
    /// The name it gets when it is put into a directory: the last component as it was asked for.
    pub name: OsString,
    /// What of it is taken (`--exclude`, `--parents`): paths relative to the directory, or for
    /// anything else its name.
    pub filter: Option<Filter>,
}

/// `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(String);

impl Chmod {
    /// The mode of a file that had `mode` before.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        todo!()
    }
}

impl FromStr for Chmod {
    type Err = ChmodError;
    fn from_str(text: &str) -> Result<Self, ChmodError> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid mode {text:?}")]
pub struct ChmodError {
    pub text: String,
}

pub struct CopyRequest<'a> {
    pub source: &'a View,
    pub items: &'a [Item],
    /// The layers below `upper`.
    pub dest_view: &'a View,
    /// Where the changes go.
    pub upper: &'a Path,
    /// Absolute path inside the destination; a trailing slash or `/.` means a directory.
    pub dest: &'a Path,
    /// The owner of everything copied; `None` keeps the owner in the source.
    pub owner: Option<(u32, u32)>,
    pub chmod: Option<&'a Chmod>,
    /// `false` for `--link`.
    pub follow_dest_symlinks: bool,
    /// Modification time, in seconds, of everything copied instead of the source's.
    pub mtime: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyStats {
    pub files: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    #[error("find {}", path.display())]
    NotFound { path: PathBuf },
    #[error("copy directory {} onto {}, which is not a directory", source_path.display(), dest.display())]
    DirOntoFile { source_path: PathBuf, dest: PathBuf },
    #[error("copy {} onto directory {}", source_path.display(), dest.display())]
    FileOntoDir { source_path: PathBuf, dest: PathBuf },
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// The sources one word of COPY names. `matches(pattern, name)` is Go's `filepath.Match` on one
/// path component.
pub fn select(
    source: &View,
    word: &Path,
    matches: &dyn Fn(&OsStr, &OsStr) -> bool,
) -> Result<Vec<Item>, CopyError> {
    todo!()
}

/// The content digest of `items` as they will land.
pub fn selection_digest(
    source: &View,
    items: &[Item],
    owner: Option<(u32, u32)>,
    chmod: Option<&Chmod>,
    cache: Option<&dyn StatCache>,
) -> Result<Digest, CopyError> {
    todo!()
}

pub fn copy(request: &CopyRequest<'_>) -> Result<CopyStats, CopyError> {
    todo!()
}

/// ADD of one source that may be an archive: unpacks it into `dest` and answers true, or answers
/// false when it is none.
pub fn unpack(request: &CopyRequest<'_>, item: &Item) -> Result<bool, CopyError> {
    todo!()
}
