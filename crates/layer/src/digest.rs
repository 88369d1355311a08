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

/// Bytes that most records are shorter than; files whose records are made in one go at most; how many
/// times that is held at once.
const RECORD: usize = 160;
const CHUNK: usize = 128;
const PART: usize = 256;

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
    let entries = entries.into_par_iter().map(|node| Ok((look_inside(view, &node, cache)?, node)));
    let entries: Vec<(Inside, Node)> = entries.collect::<Result<_>>()?;
    let mut hasher = Hasher::new();
    hash_records(&mut hasher, &[entries], |(Inside { xattrs, contents }, node), records| {
        let attributes = Attributes::with_xattrs(node, xattrs.clone());
        let contents = contents.map(|contents| contents.digest);
        record(records, &node.path, node, &attributes, contents)
    })?;
    for path in missing {
        hasher.update(&absence(&path));
    }
    Ok(hasher.finish())
}

/// Hashes what `record` appends for each file of `runs`, in their order. Records are made in parallel on
/// the pool of the caller while those before them are hashed, a part of them at a time: there may be
/// very many.
pub(crate) fn hash_records<T: Sync>(
    hasher: &mut Hasher,
    runs: &[Vec<T>],
    record: impl Fn(&T, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    let records = |files: &&[T]| {
        let mut records = Vec::with_capacity(files.len() * RECORD);
        files.iter().try_for_each(|file| record(file, &mut records)).map(|()| records)
    };
    let chunks: Vec<&[T]> = runs.iter().flat_map(|run| run.chunks(CHUNK)).collect();
    let mut made: Vec<Vec<u8>> = Vec::new();
    for part in chunks.chunks(PART) {
        let make = || part.par_iter().map(records).collect::<Result<Vec<_>>>();
        made = rayon::join(|| made.iter().for_each(|records| hasher.update(records)), make).1?;
    }
    for records in made {
        hasher.update(&records);
    }
    Ok(())
}

/// Appends everything that counts about one file, in a form no two different files share: every piece
/// of variable length comes with its length. Sockets do not count.
pub(crate) fn record(
    record: &mut Vec<u8>,
    path: &Path,
    node: &Node,
    attributes: &Attributes,
    contents: Option<Digest>,
) -> Result<()> {
    let kind = match node.meta.kind {
        Kind::File => b'f',
        Kind::Dir => b'd',
        Kind::Symlink => b'l',
        Kind::CharDevice => b'c',
        Kind::BlockDevice => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => return Ok(()),
    };
    record.push(kind);
    bytes(record, path.as_os_str().as_bytes());
    // The mode of a link is not used by anything, and not the same everywhere.
    let mode = if node.meta.kind == Kind::Symlink { 0o777 } else { attributes.mode };
    for number in [mode, attributes.uid, attributes.gid, node.meta.rdev.0, node.meta.rdev.1] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.extend_from_slice(&(attributes.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &attributes.xattrs {
        bytes(record, name.as_bytes());
        bytes(record, value);
    }
    match node.meta.kind {
        Kind::File => contents.iter().for_each(|d| record.extend_from_slice(d.as_bytes())),
        Kind::Symlink => bytes(record, node.link_target()?.as_os_str().as_bytes()),
        _ => {}
    }
    Ok(())
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
    if let Some(known) = known_inside(node, cache) {
        return Ok(known);
    }
    if node.meta.kind != Kind::File {
        return Ok(Inside { xattrs: node.xattrs()?, contents: None });
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

/// What `cache` says of a file, if that is all there is to be known.
pub(crate) fn known_inside(node: &Node, cache: Option<&dyn StatCache>) -> Option<Inside> {
    let contents = match node.meta.kind {
        Kind::File => {
            let stamp = FileStamp::of(&node.meta);
            let known = cache?.get(&stamp)?;
            Some(Contents { digest: known.contents.filter(|_| known.plain)?, stamp: Some(stamp) })
        }
        // The kernel allows links no extended attributes that belong to an image.
        Kind::Symlink => None,
        _ => return None,
    };
    Some(Inside { xattrs: Vec::new(), contents })
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
