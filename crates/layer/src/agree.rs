//! Comparing trees file by file, as far as somebody has looked at them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::error::Context;
use crate::{Kind, Metadata, Node, Result, View, Walk, contents, xattr};

/// What of a file counts. Whether it exists, its type, mode, owner and size always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aspects {
    /// Of a directory its times. They change with the names in it, so it is those that count.
    pub attributes: bool,
    /// The bytes of a file, the target of a link, the names and types in a directory.
    pub contents: bool,
    /// The extended attributes that belong to an image.
    pub xattrs: bool,
}

impl Aspects {
    /// All of them.
    pub const ALL: Self = Self { attributes: true, contents: true, xattrs: true };
}

/// Two views that are compared path by path.
///
/// Neither times nor inode numbers count, but which of the paths are the same file does.
pub struct Comparison {
    a: View,
    b: View,
    /// Which file of the one is which of the other, where one of them has several names.
    links: [HashMap<(u64, u64), (u64, u64)>; 2],
}

impl Comparison {
    /// Begins to compare `a` with `b`.
    pub fn new(a: View, b: View) -> Self {
        Self { a, b, links: Default::default() }
    }

    /// Whether both show the same at `path`, which is taken as it is: where a symbolic link is on
    /// the way there is nothing.
    ///
    /// # Errors
    /// [`LayerError::Io`](crate::LayerError::Io).
    pub fn agree(&mut self, path: &Path, aspects: Aspects) -> Result<bool> {
        let at =
            |view: &View| -> Result<_> { Ok(view.lookup(path)?.filter(|node| node.path == path)) };
        let (one, other) = match (at(&self.a)?, at(&self.b)?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) => (one, other),
            _ => return Ok(false),
        };
        if key(&one.meta) != key(&other.meta) || !self.are_linked_alike(&one.meta, &other.meta) {
            return Ok(false);
        }
        let is_dir = one.meta.is_dir();
        if !is_dir && inode(&one.meta) == inode(&other.meta) {
            // Committed layers share what they have in common.
            return Ok(true);
        }
        if aspects.xattrs && one.xattrs()? != other.xattrs()? {
            return Ok(false);
        }
        let was_read = aspects.contents || (is_dir && aspects.attributes);
        if !was_read {
            return Ok(true);
        }
        match one.meta.kind {
            Kind::File => {
                let (file, other_file) = (self.a.open(&one)?, self.b.open(&other)?);
                contents::are_equal(&file, &other_file).context("read", one.real())
            }
            Kind::Symlink => Ok(one.link_target()? == other.link_target()?),
            Kind::Dir => Ok(entries(&self.a, &one)? == entries(&self.b, &other)?),
            _ => Ok(true),
        }
    }

    /// Whether both are files that were not met under another name yet, or both are the files that
    /// were met then.
    fn are_linked_alike(&mut self, one: &Metadata, other: &Metadata) -> bool {
        if one.is_dir() || (one.nlink < 2 && other.nlink < 2) {
            return true;
        }
        let (one, other) = (inode(one), inode(other));
        let [there, back] = &mut self.links;
        *there.entry(one).or_insert(other) == other && *back.entry(other).or_insert(one) == one
    }
}

fn key(meta: &Metadata) -> (Kind, u32, u32, u32, u64, (u32, u32)) {
    let size = if meta.is_dir() { 0 } else { meta.size };
    (meta.kind, meta.mode, meta.uid, meta.gid, size, meta.rdev)
}

fn inode(meta: &Metadata) -> (u64, u64) {
    (meta.dev, meta.ino)
}

/// Names and types in a directory.
fn entries(view: &View, dir: &Node) -> Result<Vec<(std::ffi::OsString, Kind)>> {
    let children = view.children(dir)?.into_iter();
    Ok(children.map(|child| (child.name().to_owned(), child.meta.kind)).collect())
}

/// The paths at which two layers differ, be it in what they hide. Times and inodes don't count.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io).
pub fn differing(a: &Path, b: &Path) -> Result<Vec<PathBuf>> {
    // Whiteouts are files like others here.
    let (a, b) = (View::plain(a), View::plain(b));
    let mut paths = BTreeSet::from([PathBuf::from("/")]);
    for view in [&a, &b] {
        view.walk("/", &mut |node| {
            paths.insert(node.path.clone());
            Ok(Walk::Into)
        })?;
    }
    // Whether the path is a directory, and one that hides what is below it.
    let dir = |view: &View, path: &Path| -> Result<Option<bool>> {
        match view.lookup(path)? {
            Some(node) if node.meta.is_dir() => {
                let is_opaque = xattr::is_opaque(&node.real());
                Ok(Some(is_opaque.context("read the attributes of", node.real())?))
            }
            _ => Ok(None),
        }
    };
    let mut comparison = Comparison::new(a.clone(), b.clone());
    let mut differing = Vec::new();
    for path in paths {
        let (one, other) = (dir(&a, &path)?, dir(&b, &path)?);
        // The names in a directory are told one by one.
        let aspects = if one.is_some() {
            Aspects { xattrs: true, ..Aspects::default() }
        } else {
            Aspects::ALL
        };
        if one != other || !comparison.agree(&path, aspects)? {
            differing.push(path);
        }
    }
    Ok(differing)
}
