//! Linking files instead of copying them.
//!
//! Committed layers never change: overlayfs copies a file up before it writes to it. So two of
//! them may hold the same inode, which saves copying the file and storing it twice. What must not
//! happen is that one root filesystem shows an inode under two paths, as then tools inside see
//! hard links that are not there. Hence the one rule: *a file is only ever linked under the path
//! it already has*. However often that is done, all names of an inode are the same path in
//! different layers, and of those a root filesystem shows one.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::OFlags;

use super::CopyRequest;
use crate::error::Context;
use crate::upper::{Attributes, Upper};
use crate::{Kind, Metadata, Node, Result, contents, sys, xattr};

/// From where files may be linked instead of copied. Everything named here must never change
/// again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sharing<'a> {
    /// The upper directory of an earlier copy to the same place. A file that is there with the
    /// same attributes and the same bytes, which are compared, is taken from it: when little has
    /// changed, little is written.
    pub previous: Option<&'a Path>,
    /// Whether the source itself is made of committed layers. A file that lands, as it is, under
    /// the path it has in the source is the same file.
    pub source: bool,
}

/// A [`Sharing`] being used.
pub(super) struct Shared<'a> {
    previous: Option<(OwnedFd, &'a Path)>,
    source: bool,
    /// What was linked already: a second name under another path would be a hard link.
    used: Mutex<HashSet<(u64, u64)>>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(sharing: &Sharing<'a>) -> Result<Self> {
        let open = |path: &'a Path| -> Result<_> {
            Ok((sys::open_root(path).context("open directory", path)?, path))
        };
        let previous = sharing.previous.map(open).transpose()?;
        Ok(Self { previous, source: sharing.source, used: Mutex::default() })
    }

    /// Links `node` to `path` in `dir`, if there is a file to link to. Whatever is in the way of
    /// that is a reason to copy, not to fail.
    pub(super) fn link(
        &self,
        request: &CopyRequest<'_>,
        upper: &Upper,
        dir: &OwnedFd,
        path: &Path,
        node: &Node,
        attributes: &Attributes,
    ) -> Result<bool> {
        if self.source && node.path == path && is_as(&node.real, &node.meta, attributes) {
            let file = request.source.open(node)?;
            if self.link_to(upper, dir, path, &file, &node.real)? {
                return Ok(true);
            }
        }
        let Some((root, previous)) = &self.previous else { return Ok(false) };
        let relative = sys::relative(path);
        let real = previous.join(&relative);
        let Ok(Some(meta)) = sys::stat_at(root, &relative) else { return Ok(false) };
        if meta.kind != Kind::File
            || meta.size != node.meta.size
            || !is_as(&real, &meta, attributes)
        {
            return Ok(false);
        }
        let Ok(file) = sys::open_beneath(root, &relative, OFlags::RDONLY) else {
            return Ok(false);
        };
        let file = File::from(file);
        let source = request.source.open(node)?;
        let same = contents::are_equal(&source, &file).context("read", &node.real)?;
        Ok(same && self.link_to(upper, dir, path, &file, &real)?)
    }

    fn link_to(
        &self,
        upper: &Upper,
        dir: &OwnedFd,
        path: &Path,
        file: &File,
        real: &Path,
    ) -> Result<bool> {
        let stat = rustix::fs::fstat(file).context("stat", real)?;
        let meta = Metadata::from(stat);
        let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !used.insert((meta.dev, meta.ino)) {
            return Ok(false);
        }
        drop(used);
        // Another filesystem, a filesystem without links, or one link too many.
        Ok(upper.put_hardlink_to(dir, path, file).is_ok())
    }
}

/// Whether a file has exactly these attributes, and none that are not part of an image.
fn is_as(real: &Path, meta: &Metadata, attributes: &Attributes) -> bool {
    (meta.mode, meta.uid, meta.gid) == (attributes.mode, attributes.uid, attributes.gid)
        && (meta.mtime, meta.mtime_ns) == attributes.mtime
        && xattr::list(real).is_ok_and(|names| names.len() == attributes.xattrs.len())
        && xattr::kept(real).is_ok_and(|xattrs| xattrs == attributes.xattrs)
}
