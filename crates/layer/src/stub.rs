//! Signatures whose bodies are being written.
#![expect(missing_docs, clippy::todo, unused_variables, reason = "being written")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bld_oci::Digest;

use crate::{Result, View};

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

pub fn tree_digest(
    view: &View,
    paths: &[PathBuf],
    cache: Option<&dyn StatCache>,
) -> Result<Digest> {
    todo!()
}
