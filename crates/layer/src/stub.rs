//! Signatures whose bodies are being written.
#![expect(missing_docs, clippy::todo, unused_variables, reason = "being written")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bld_oci::Digest;

use crate::{Result, View};

#[derive(Debug, Clone, Copy, Default)]
pub struct TarOptions {
    /// No file is newer than this, in seconds since the epoch.
    pub clamp_mtime: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerStats {
    pub entries: u64,
    pub bytes: u64,
}

pub fn write_layer(upper: &Path, out: &mut dyn Write, options: &TarOptions) -> Result<LayerStats> {
    todo!()
}

pub fn diff_id(upper: &Path, options: &TarOptions) -> Result<(Digest, u64)> {
    todo!()
}

pub fn is_tar(prefix: &[u8]) -> bool {
    todo!()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// `.wh.` entries become overlayfs whiteouts and opaque directories.
    #[default]
    Overlay,
    /// `.wh.` entries remove what earlier layers put into the target.
    Remove,
    /// `.wh.` entries are files like any other (ADD of an archive).
    Literal,
}

#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    pub whiteouts: Whiteouts,
    /// Owner of every entry instead of the recorded one.
    pub owner: Option<(u32, u32)>,
    /// Modification time in seconds of every entry instead of the recorded one.
    pub mtime: Option<i64>,
    /// The layers below the target: directories the archive leaves out keep their metadata.
    pub lower: Option<View>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Directories made up because the archive does not have them.
    pub implied: Vec<PathBuf>,
}

pub fn apply(tar: &mut dyn Read, target: &Path, options: &ApplyOptions) -> Result<Applied> {
    todo!()
}

/// Identifies the state of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileStamp {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i64,
}

/// Remembers content digests of files that did not change.
pub trait StatCache: Sync {
    fn get(&self, stamp: &FileStamp) -> Option<Digest>;
    fn put(&self, stamp: FileStamp, digest: Digest);
}

pub fn tree_digest(view: &View, paths: &[PathBuf], cache: Option<&dyn StatCache>) -> Result<Digest> {
    todo!()
}
