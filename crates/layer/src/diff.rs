//! What differs between two trees, file by file.
//!
//! Both are gone through together, in parallel. What lies in the same layers on both sides is the same
//! and not looked at, so that two images of one base cost what they do not have in common.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::Context;
use crate::{Kind, Metadata, Node, Result, View, contents};

/// What of a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Its type. Nothing else is told of what has become something else.
    Kind,
    /// The permission bits.
    Mode,
    /// The owner or the group.
    Owner,
    /// The modification time.
    Time,
    /// The size of a regular file.
    Size,
    /// The bytes of a regular file.
    Contents,
    /// The extended attributes that belong to an image.
    Xattrs,
    /// Where a symbolic link points.
    Target,
    /// The number of a device.
    Device,
    /// Which names are the same file.
    Links,
}

impl Aspect {
    /// The aspect in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Size => "size",
            Self::Contents => "contents",
            Self::Xattrs => "xattrs",
            Self::Target => "target",
            Self::Device => "device",
            Self::Links => "links",
        }
    }
}

/// One path at which two trees differ.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The path, absolute inside the trees.
    pub path: PathBuf,
    /// What the first tree has there.
    pub before: Option<Node>,
    /// What the second tree has there.
    pub after: Option<Node>,
    /// What is different of what both have; empty when only one has anything.
    pub aspects: Vec<Aspect>,
}

/// How exactly times are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// To the second, which is what our layers record.
    Seconds,
    /// As exactly as the file system has them.
    Exact,
}

/// Every path at which `before` and `after` differ, parents first, siblings sorted by the bytes of their
/// names. Of what only one of them has, everything below is listed, too. The roots themselves belong to
/// no layer and are not compared.
///
/// Sockets, which belong to no layer either, count like other files.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io).
pub fn differences(before: &View, after: &View, times: Times) -> Result<Vec<Difference>> {
    let trees = Trees { before, after, times };
    let roots = [before.lookup("/")?, after.lookup("/")?];
    let mut found = trees.inside(roots[0].as_ref(), roots[1].as_ref())?;
    tell_links_apart(&mut found);
    let different = found.into_iter().filter_map(Found::difference);
    Ok(different.collect())
}

struct Trees<'a> {
    before: &'a View,
    after: &'a View,
    times: Times,
}

/// A path of both trees that differs, or may yet: which names are one file shows only in the end.
struct Found {
    path: PathBuf,
    before: Option<Node>,
    after: Option<Node>,
    aspects: Vec<Aspect>,
}

impl Found {
    fn difference(self) -> Option<Difference> {
        let Self { path, before, after, aspects } = self;
        let differs = before.is_none() || after.is_none() || !aspects.is_empty();
        differs.then_some(Difference { path, before, after, aspects })
    }
}

impl Trees<'_> {
    /// What is found below two directories, of which one may be missing or something else.
    fn inside(&self, before: Option<&Node>, after: Option<&Node>) -> Result<Vec<Found>> {
        if let (Some(one), Some(other)) = (before, after)
            && self.before.is_same_dir(one, self.after, other)
        {
            return Ok(Vec::new());
        }
        let entries = |view: &View, dir: Option<&Node>| match dir.filter(|dir| dir.meta.is_dir()) {
            Some(dir) => view.children(dir),
            None => Ok(Vec::new()),
        };
        let pairs = pair(entries(self.before, before)?, entries(self.after, after)?);
        let found = pairs.into_par_iter().map(|(one, other)| self.at(one, other));
        let found: Vec<Vec<Found>> = found.collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What is found at and below one path.
    fn at(&self, before: Option<Node>, after: Option<Node>) -> Result<Vec<Found>> {
        let Some(path) = before.as_ref().or(after.as_ref()).map(|node| node.path.clone()) else {
            return Ok(Vec::new());
        };
        let below = self.inside(before.as_ref(), after.as_ref())?;
        let aspects = match (&before, &after) {
            (Some(one), Some(other)) => self.aspects(one, other)?,
            _ => Vec::new(),
        };
        let is_linked = |node: &Option<Node>| node.as_ref().is_some_and(|n| n.meta.is_hardlinked());
        let both = before.is_some() && after.is_some();
        let matters = !both || !aspects.is_empty() || is_linked(&before) || is_linked(&after);
        let here = matters.then_some(Found { path, before, after, aspects });
        Ok(here.into_iter().chain(below).collect())
    }

    /// What is different of two files of one path.
    fn aspects(&self, one: &Node, other: &Node) -> Result<Vec<Aspect>> {
        let (a, b) = (&one.meta, &other.meta);
        if a.kind != b.kind {
            return Ok(vec![Aspect::Kind]);
        }
        if inode(a) == inode(b) {
            // Layers share what they have in common.
            return Ok(Vec::new());
        }
        let time = |meta: &Metadata| match self.times {
            Times::Seconds => (meta.mtime, 0),
            Times::Exact => (meta.mtime, meta.mtime_ns),
        };
        let is_file = a.kind == Kind::File;
        let differ = [
            (Aspect::Mode, a.kind != Kind::Symlink && a.mode != b.mode),
            (Aspect::Owner, (a.uid, a.gid) != (b.uid, b.gid)),
            (Aspect::Time, time(a) != time(b)),
            (Aspect::Size, is_file && a.size != b.size),
            (Aspect::Contents, is_file && !self.have_same_bytes(one, other)?),
            (Aspect::Xattrs, one.xattrs()? != other.xattrs()?),
            (Aspect::Target, a.kind == Kind::Symlink && one.link_target()? != other.link_target()?),
            (Aspect::Device, a.rdev != b.rdev),
        ];
        Ok(differ.into_iter().filter_map(|(aspect, differs)| differs.then_some(aspect)).collect())
    }

    fn have_same_bytes(&self, one: &Node, other: &Node) -> Result<bool> {
        if one.meta.size != other.meta.size || one.meta.size == 0 {
            return Ok(one.meta.size == other.meta.size);
        }
        let (a, b) = (self.before.open(one)?, self.after.open(other)?);
        contents::are_equal(&a, &b).context("read", one.real())
    }
}

/// The entries of two directories, each with the one of its name. Both are sorted.
fn pair(before: Vec<Node>, after: Vec<Node>) -> Vec<(Option<Node>, Option<Node>)> {
    let mut pairs = Vec::with_capacity(before.len().max(after.len()));
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.name().cmp(other.name()),
        };
        pairs.push(match order {
            Ordering::Less => (before.next(), None),
            Ordering::Greater => (None, after.next()),
            Ordering::Equal => (before.next(), after.next()),
        });
    }
}

/// Notes where two names are one file in one tree and not in the other.
fn tell_links_apart(found: &mut [Found]) {
    let (mut there, mut back) = (HashMap::new(), HashMap::new());
    for found in found {
        let (Some(before), Some(after)) = (&found.before, &found.after) else { continue };
        if before.meta.is_dir() || before.meta.kind != after.meta.kind {
            continue;
        }
        let (one, other) = (inode(&before.meta), inode(&after.meta));
        let alike =
            *there.entry(one).or_insert(other) == other && *back.entry(other).or_insert(one) == one;
        if !alike {
            found.aspects.push(Aspect::Links);
        }
    }
}

fn inode(meta: &Metadata) -> (u64, u64) {
    (meta.dev, meta.ino)
}

/// What became of one path, in the words of docker's `diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It, or something below it, is not what it was.
    Changed,
    /// It is gone, with everything below.
    Deleted,
}

/// `differences` as docker tells them: everything above a change has changed, too, and of a directory
/// that is gone only itself is told. Sorted by path.
pub fn changes(differences: &[Difference]) -> Vec<(&Path, Change)> {
    let mut changes: BTreeMap<&Path, Change> = BTreeMap::new();
    let mut gone: Option<&Path> = None;
    for difference in differences {
        let path = difference.path.as_path();
        if gone.is_some_and(|gone| path.starts_with(gone)) && difference.after.is_none() {
            continue;
        }
        for parent in path.ancestors().skip(1).filter(|parent| parent.parent().is_some()) {
            changes.entry(parent).or_insert(Change::Changed);
        }
        let change = match (&difference.before, &difference.after) {
            (None, _) => Change::Added,
            (Some(_), None) => Change::Deleted,
            (Some(_), Some(_)) => Change::Changed,
        };
        changes.insert(path, change);
        let is_dir = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.meta.is_dir());
        if is_dir(&difference.before) && !is_dir(&difference.after) {
            gone = Some(path);
        }
    }
    changes.into_iter().collect()
}
