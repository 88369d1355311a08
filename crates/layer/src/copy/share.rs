//! Linking files instead of copying them.
//!
//! Committed layers never change: overlayfs copies a file up before it writes to it. So two of
//! them may hold the same inode, which saves copying the file and storing it twice. What must not
//! happen is that one root filesystem shows an inode under two paths, as then tools inside see
//! hard links that are not there. Hence two rules: *a file is only ever linked under the path it
//! already has*, and *a file that has several names in one layer is never linked into another*.
//! However often that is done, all names of an inode are the same path in different layers, and of
//! those a root filesystem shows one.
//!
//! How many names a file has in its own layer, the link count does not tell once it is shared. But a
//! copy knows, and tells it on with the digests of what lands.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use bld_oci::Digest;
use rustix::fs::OFlags;

use super::CopyRequest;
use super::read::Taken;
use crate::error::Context;
use crate::upper::{Attributes, Upper};
use crate::{FileStamp, Kind, Known, Metadata, Result, StatCache, contents, sys, xattr};

/// From where files may be linked instead of copied. Everything named here must never change
/// again.
#[derive(Clone, Copy, Default)]
pub struct Sharing<'a> {
    /// An earlier copy to the same place. A file that is there with the same attributes and the
    /// same bytes is taken from it: when little has changed, little is written.
    pub previous: Option<Previous<'a>>,
    /// Whether the source itself is made of committed layers. A file that lands, as it is, under
    /// the path it has in the source is the same file.
    pub source: bool,
    /// Told of the files that land under one name: the `known` of the next copy. The change times
    /// it is told mean nothing.
    pub landed: Option<&'a dyn StatCache>,
}

/// The result of an earlier copy.
#[derive(Clone, Copy)]
pub struct Previous<'a> {
    /// Its upper directory.
    pub upper: &'a Path,
    /// What is known of its files that have one name there, whatever their change times are:
    /// linking them changes those. Where a digest is missing, bytes are compared.
    pub known: &'a dyn StatCache,
}

/// A [`Sharing`] being used.
pub(super) struct Shared<'a> {
    previous: Option<(OwnedFd, Previous<'a>)>,
    source: bool,
    pub(super) landed: Option<&'a dyn StatCache>,
}

/// One directory of the result, and the same one in the previous result.
pub(super) struct Site<'a> {
    pub(super) upper: &'a Upper,
    pub(super) dir: OwnedFd,
    previous: Option<OwnedFd>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(sharing: &Sharing<'a>) -> Result<Self> {
        let open = |previous: Previous<'a>| -> Result<_> {
            let path = previous.upper;
            Ok((sys::open_root(path).context("open directory", path)?, previous))
        };
        Ok(Self {
            previous: sharing.previous.map(open).transpose()?,
            source: sharing.source,
            landed: sharing.landed,
        })
    }

    /// Opens `dir`, which the upper directory has, to put files into it.
    pub(super) fn site<'u>(&self, upper: &'u Upper, dir: &Path) -> Result<Site<'u>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let previous = self.previous.as_ref();
        // Where there was none, or no directory, there is nothing to share.
        let previous =
            previous.and_then(|(root, _)| sys::open_beneath(root, &sys::relative(dir), flags).ok());
        Ok(Site { upper, dir: upper.open_dir(dir)?, previous })
    }

    /// Links what is taken to `path`, if there is a file to link to. Whatever is in the way of that
    /// is a reason to copy, not to fail.
    pub(super) fn link(
        &self,
        request: &CopyRequest<'_>,
        site: &Site<'_>,
        path: &Path,
        taken: &Taken,
        attributes: &Attributes,
    ) -> Result<bool> {
        let node = &taken.node;
        if self.source
            && node.path == path
            && !node.meta.is_hardlinked()
            && has(&node.meta, attributes)
            && has_xattrs(&node.real(), attributes)
            && site.upper.put_hardlink_to(&site.dir, path, &request.source.open(node)?).is_ok()
        {
            self.tell(&node.meta, None, attributes);
            return Ok(true);
        }
        let (Some((_, previous)), Some(dir)) = (&self.previous, &site.previous) else {
            return Ok(false);
        };
        let name = path.file_name().unwrap_or_default();
        let Ok(Some(meta)) = sys::stat_at(dir, name) else { return Ok(false) };
        if meta.kind != Kind::File || meta.size != node.meta.size || !has(&meta, attributes) {
            return Ok(false);
        }
        let Some(known) = previous.known.get(&FileStamp::of(&meta)) else { return Ok(false) };
        let real = previous.upper.join(sys::unrooted(path));
        let same_xattrs =
            if known.plain { attributes.xattrs.is_empty() } else { has_xattrs(&real, attributes) };
        let wanted = taken.inside.as_ref().and_then(|inside| inside.contents);
        let same = same_xattrs
            && match (wanted, known.contents) {
                (Some(wanted), Some(known)) => known == wanted.digest,
                // The source may not be what it was when it was read.
                (Some(_), None) => false,
                (None, _) => {
                    (meta.dev, meta.ino) == (node.meta.dev, node.meta.ino)
                        || has_bytes(request, dir, path, taken)?
                }
            };
        // Another filesystem, a filesystem without links, or one link too many.
        if !same || site.upper.put_hardlink_in(&site.dir, path, dir, name).is_err() {
            return Ok(false);
        }
        self.tell(&meta, known.contents, attributes);
        Ok(true)
    }

    /// Tells of a file that has landed.
    pub(super) fn tell(&self, meta: &Metadata, contents: Option<Digest>, attributes: &Attributes) {
        if let Some(landed) = self.landed {
            let plain = attributes.xattrs.is_empty();
            landed.put(FileStamp::of(meta), Known { contents, plain });
        }
    }
}

/// Whether a file has the bytes of the one of that name in `dir`.
fn has_bytes(request: &CopyRequest<'_>, dir: &OwnedFd, path: &Path, taken: &Taken) -> Result<bool> {
    let name = Path::new(path.file_name().unwrap_or_default());
    let Ok(file) = sys::open_beneath(dir, name, OFlags::RDONLY) else { return Ok(false) };
    let source = request.source.open(&taken.node)?;
    contents::are_equal(&source, &File::from(file)).with_context("read", || taken.node.real())
}

/// Whether a file has exactly these attributes, extended ones aside.
fn has(meta: &Metadata, attributes: &Attributes) -> bool {
    (meta.mode, meta.uid, meta.gid) == (attributes.mode, attributes.uid, attributes.gid)
        && (meta.mtime, meta.mtime_ns) == attributes.mtime
}

/// Whether a file has exactly these extended attributes, and none that are not part of an image.
fn has_xattrs(real: &Path, attributes: &Attributes) -> bool {
    xattr::list(real).is_ok_and(|names| names.len() == attributes.xattrs.len())
        && xattr::kept(real).is_ok_and(|xattrs| xattrs == attributes.xattrs)
}
