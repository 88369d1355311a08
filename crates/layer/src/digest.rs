//! Digests of trees: what is in them, not when it was made or where it lies.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bld_oci::{Digest, Hasher};
use rayon::prelude::*;

use crate::error::Context;
use crate::upper::Attributes;
use crate::{Kind, Metadata, Node, Result, View};

/// Tells one state of a file from another without reading it. The change time cannot be set by
/// anybody, so a file that was touched has another stamp, whatever its modification time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileStamp {
    /// The filesystem.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, in nanoseconds since the epoch.
    pub ctime_ns: i64,
}

/// Remembers the digests of file contents. Called from many threads at once.
pub trait StatCache: Sync {
    /// The digest of the contents of the file that had this stamp.
    fn get(&self, stamp: &FileStamp) -> Option<Digest>;

    /// Remembers a digest. Only called for a file that is old enough that no later change can
    /// leave the stamp as it is.
    fn put(&self, stamp: FileStamp, digest: Digest);
}

/// How long after its last change a file's stamp is not trusted: two seconds are the coarsest
/// times a filesystem keeps.
const RACY_NS: i64 = 2_000_000_000;

/// The digest of what `paths` lead to in `view`, and of everything below: path, kind, mode, owner,
/// device number, extended attributes, link target and bytes of every file. Neither times nor
/// inode numbers count, nor does the order of `paths`. A path where nothing is counts as such, so
/// its appearing is a change.
///
/// Files are read in parallel on the pool of the caller.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io), [`LayerError::SymlinkLoop`](crate::LayerError::SymlinkLoop).
pub fn tree_digest(
    view: &View,
    paths: &[PathBuf],
    cache: Option<&dyn StatCache>,
) -> Result<Digest> {
    let mut entries = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        match view.resolve(path)? {
            None => missing.push(view.canonical(path)?),
            Some(node) => {
                if node.meta.is_dir() {
                    entries.extend(view.tree(&node)?);
                }
                entries.push(node);
            }
        }
    }
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    entries.dedup_by(|a, b| a.path == b.path);
    missing.sort_unstable();
    missing.dedup();
    let records = entries
        .par_iter()
        .map(|node| record(view, &node.path, node, &Attributes::of(node)?, cache));
    let mut hasher = Hasher::new();
    for record in records.collect::<Result<Vec<_>>>()? {
        hasher.update(&record);
    }
    for path in missing {
        hasher.update(&absence(&path));
    }
    Ok(hasher.finish())
}

/// Everything that counts about one file, in a form no two different files share: every piece of
/// variable length comes with its length. Sockets do not count.
pub(crate) fn record(
    view: &View,
    path: &Path,
    node: &Node,
    attributes: &Attributes,
    cache: Option<&dyn StatCache>,
) -> Result<Vec<u8>> {
    let mut record = Vec::with_capacity(128);
    let kind = match node.meta.kind {
        Kind::File => b'f',
        Kind::Dir => b'd',
        Kind::Symlink => b'l',
        Kind::CharDevice => b'c',
        Kind::BlockDevice => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => return Ok(record),
    };
    record.push(kind);
    bytes(&mut record, path.as_os_str().as_bytes());
    // The mode of a link is not used by anything, and not the same everywhere.
    let mode = if node.meta.kind == Kind::Symlink { 0o777 } else { attributes.mode };
    for number in [mode, attributes.uid, attributes.gid, node.meta.rdev.0, node.meta.rdev.1] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.extend_from_slice(&(attributes.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &attributes.xattrs {
        bytes(&mut record, name.as_bytes());
        bytes(&mut record, value);
    }
    match node.meta.kind {
        Kind::File => record.extend_from_slice(contents_digest(view, node, cache)?.as_bytes()),
        Kind::Symlink => bytes(&mut record, node.link_target()?.as_os_str().as_bytes()),
        _ => {}
    }
    Ok(record)
}

/// The record of a path where nothing is.
fn absence(path: &Path) -> Vec<u8> {
    let mut record = vec![b'-'];
    bytes(&mut record, path.as_os_str().as_bytes());
    record
}

fn bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    record.extend_from_slice(bytes);
}

/// The digest of the contents of a regular file, from `cache` when its stamp is known there.
pub(crate) fn contents_digest(
    view: &View,
    node: &Node,
    cache: Option<&dyn StatCache>,
) -> Result<Digest> {
    if let Some(digest) = cache.and_then(|cache| cache.get(&FileStamp::of(&node.meta))) {
        return Ok(digest);
    }
    let mut file = view.open(node)?;
    let before = stamp(&file, node)?;
    let mut buffer = vec![0; usize::try_from(before.size).unwrap_or(MAX_READ).clamp(1, MAX_READ)];
    let mut hasher = Hasher::new();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read", &node.real),
        }
    }
    let digest = hasher.finish();
    if let Some(cache) = cache
        && stamp(&file, node)? == before
        && !before.is_racy()
    {
        cache.put(before, digest);
    }
    Ok(digest)
}

/// Bytes read at a time.
const MAX_READ: usize = 128 * 1024;

fn stamp(file: &File, node: &Node) -> Result<FileStamp> {
    let stat = rustix::fs::fstat(file).context("stat", &node.real)?;
    Ok(FileStamp::of(&stat.into()))
}

impl FileStamp {
    /// The stamp of a file with this metadata.
    pub fn of(meta: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: u32| {
            seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into())
        };
        Self {
            dev: meta.dev,
            ino: meta.ino,
            size: meta.size,
            mtime_ns: nanos(meta.mtime, meta.mtime_ns),
            ctime_ns: nanos(meta.ctime, meta.ctime_ns),
        }
    }

    /// Whether the file changed so recently that it could change again within the same tick.
    fn is_racy(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        self.ctime_ns > now.saturating_sub(RACY_NS)
    }
}
