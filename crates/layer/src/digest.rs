//! Digests of trees: what is in them, not when it was made or where it lies.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bld_oci::{Digest, Hasher};
use rayon::prelude::*;

use crate::error::Context;
use crate::upper::Attributes;
use crate::xattr::{self, Xattrs};
use crate::{Kind, Metadata, Node, Result, View, contents};

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

/// What is known of a regular file that was looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The digest of its contents, if it was read.
    pub contents: Option<Digest>,
    /// Whether it has no extended attribute that belongs to an image. Nearly no file has one, and
    /// asking each would take longer than all else does.
    pub plain: bool,
}

/// Remembers what is in files. Called from many threads at once.
pub trait StatCache: Sync {
    /// What is in the file that had this stamp.
    fn get(&self, stamp: &FileStamp) -> Option<Known>;

    /// Remembers what is in a file. Only called for a file that is old enough that no later change
    /// can leave the stamp as it is.
    fn put(&self, stamp: FileStamp, known: Known);
}

/// What stat(2) does not say about a file.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    pub(crate) xattrs: Xattrs,
    /// Of a regular file.
    pub(crate) contents: Option<Contents>,
}

/// What was read of a regular file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents {
    pub(crate) digest: Digest,
    /// As long as the file has this stamp it has these contents; none if it changed so recently
    /// that its stamp proves nothing.
    pub(crate) stamp: Option<FileStamp>,
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
    let records = entries.par_iter().map(|node| {
        let Inside { xattrs, contents } = look_inside(view, node, cache)?;
        let attributes = Attributes::with_xattrs(node, xattrs);
        record(&node.path, node, &attributes, contents.map(|contents| contents.digest))
    });
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
    path: &Path,
    node: &Node,
    attributes: &Attributes,
    contents: Option<Digest>,
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
        Kind::File => contents.iter().for_each(|d| record.extend_from_slice(d.as_bytes())),
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

/// Finds out what stat(2) does not say about a file; from `cache` when its stamp is known there.
pub(crate) fn look_inside(
    view: &View,
    node: &Node,
    cache: Option<&dyn StatCache>,
) -> Result<Inside> {
    match node.meta.kind {
        Kind::File => {}
        // The kernel allows links none of those that belong to an image.
        Kind::Symlink => return Ok(Inside { xattrs: Vec::new(), contents: None }),
        _ => return Ok(Inside { xattrs: node.xattrs()?, contents: None }),
    }
    let stamp = FileStamp::of(&node.meta);
    if let Some(known) = cache.and_then(|cache| cache.get(&stamp))
        && let Some(digest) = known.contents
    {
        let contents = Some(Contents { digest, stamp: Some(stamp) });
        let xattrs = if known.plain { Vec::new() } else { node.xattrs()? };
        return Ok(Inside { xattrs, contents });
    }
    let file = view.open(node)?;
    let before = stamp_of(&file, node)?;
    let mut hasher = Hasher::new();
    let hash = |bytes: &[u8]| {
        hasher.update(bytes);
        Ok(())
    };
    contents::read(&file, before.size, hash).with_context("read", || node.real())?;
    let xattrs =
        xattr::kept(&file).with_context("read the extended attributes of", || node.real())?;
    let digest = hasher.finish();
    let settled = !before.is_racy() && stamp_of(&file, node)? == before;
    if let Some(cache) = cache.filter(|_| settled) {
        cache.put(before, Known { contents: Some(digest), plain: xattrs.is_empty() });
    }
    let contents = Some(Contents { digest, stamp: settled.then_some(before) });
    Ok(Inside { xattrs, contents })
}

/// The stamp of an open file.
pub(crate) fn stamp_of(file: &File, node: &Node) -> Result<FileStamp> {
    let stat = rustix::fs::fstat(file).with_context("stat", || node.real())?;
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
