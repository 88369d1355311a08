//! What goes where, decided before anything is written.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::{Place, Taken, TakenFiles};
use super::{CopyError, CopyRequest, Item};
use crate::upper::{Attributes, Upper};
use crate::view::Resolver;
use crate::{Node, Result, View};

/// What a copy writes.
pub(super) struct Plan {
    /// Directories that must be there first, with what they get where they have to be made.
    pub(super) parents: Vec<(PathBuf, Attributes)>,
    /// What lands at which canonical path, parents first. Paths are compared as bytes, which takes a
    /// fraction of the time.
    pub(super) placements: BTreeMap<OsString, Placement>,
    /// Directories whose contents are copied into a directory of the destination, which takes
    /// their time.
    pub(super) tops: Vec<(PathBuf, Node)>,
}

/// A file that lands.
pub(super) struct Placement {
    /// What is taken of an item, and which of that it is.
    taken: (Arc<TakenFiles>, Place),
    /// The item it is part of: hard links do not reach across items.
    pub(super) item: usize,
    /// Whether there is a directory in its place.
    pub(super) merges: bool,
}

impl Placement {
    pub(super) fn taken(&self) -> &Taken {
        self.taken.0.get(self.taken.1)
    }

    pub(super) fn node(&self) -> &Node {
        &self.taken().node
    }
}

struct Planner<'a> {
    request: &'a CopyRequest<'a>,
    /// The destination before the copy.
    existing: &'a View,
    /// Where the destination leads.
    target: PathBuf,
    plan: Plan,
}

impl Plan {
    pub(super) fn make(request: &CopyRequest<'_>, upper: &Upper) -> Result<Self, CopyError> {
        let target = upper.canonical(request.dest, request.follow_dest_symlinks)?;
        let plan = Self { parents: Vec::new(), placements: BTreeMap::new(), tops: Vec::new() };
        let mut planner = Planner { request, existing: upper.merged(), target, plan };
        planner.check_way()?;
        for (index, item) in request.items.iter().enumerate() {
            planner.add(index, item)?;
        }
        Ok(planner.plan)
    }
}

impl Planner<'_> {
    /// Everything above the destination must be a directory or free to become one.
    fn check_way(&self) -> Result<(), CopyError> {
        if !self.request.follow_dest_symlinks {
            // Whatever is in the way gives way.
            return Ok(());
        }
        let mut way: Vec<&Path> = self.target.ancestors().collect();
        if !self.request.dest_is_dir() {
            way.remove(0);
        }
        for path in way.into_iter().rev() {
            match self.find(path)? {
                None => break,
                Some(node) if node.meta.is_dir() => {}
                Some(_) => {
                    let (dest, path) = (self.request.dest.to_owned(), path.to_owned());
                    return Err(CopyError::NotADirectory { dest, path });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, index: usize, item: &Item) -> Result<(), CopyError> {
        let taken = item.taken(self.request.source)?;
        let made = self.request.implied_dir(&item.node);
        let dest_is_dir = self.request.dest_is_dir() || self.is_dir(&self.target)?;
        if item.is_dir() {
            let target = self.target.clone();
            if !dest_is_dir && self.is_in_the_way(&target)? {
                return Err(CopyError::DirOntoFile { from: item.node.path.clone(), to: target });
            }
            // Nothing into what is there leaves no trace.
            if !taken.is_empty() || !self.is_dir(&target)? {
                self.plan.parents.push((target.clone(), made));
                self.plan.tops.push((target, item.node.clone()));
            }
            return self.merge(index, &taken);
        }
        let (parent, path) = if dest_is_dir {
            (self.target.clone(), self.target.join(&item.name))
        } else {
            let parent = self.target.parent().unwrap_or(&self.target).to_owned();
            (parent, self.target.clone())
        };
        self.plan.parents.push((parent, made));
        let existing = self.find(&path)?;
        for (place, _) in taken.iter() {
            self.place(path.clone(), existing.as_ref(), (Arc::clone(&taken), place), index)?;
        }
        Ok(())
    }

    /// Puts the contents of a directory over what is at the destination.
    fn merge(&mut self, index: usize, taken: &Arc<TakenFiles>) -> Result<(), CopyError> {
        // The directories of the destination that exist: below any other nothing does.
        let mut dirs = HashMap::new();
        if let Some(node) = self.find(&self.target)? {
            dirs.insert(PathBuf::new(), node);
        }
        for (place, one) in taken.iter() {
            let path = one.path();
            let parent = path.parent().filter(|_| !dirs.is_empty());
            let existing = match parent.and_then(|parent| dirs.get(parent)) {
                Some(parent) => self.existing.child(parent, one.node.name())?,
                None => None,
            };
            let target = self.target.join(path);
            self.place(target, existing.as_ref(), (Arc::clone(taken), place), index)?;
            if let Some(dir) = existing.filter(|node| node.meta.is_dir()) {
                dirs.insert(path.to_owned(), dir);
            }
        }
        Ok(())
    }

    /// Plans one file, over what is there now and what was planned before.
    fn place(
        &mut self,
        to: PathBuf,
        existing: Option<&Node>,
        taken: (Arc<TakenFiles>, Place),
        item: usize,
    ) -> Result<(), CopyError> {
        let merges = existing.is_some_and(|node| node.meta.is_dir());
        let placement = Placement { taken, item, merges };
        let node = placement.node();
        let planned = self.plan.placements.get(to.as_os_str()).map(Placement::node);
        let is_dir = planned.or(existing).map(|node| node.meta.is_dir());
        match (node.meta.is_dir(), is_dir) {
            (true, Some(false)) if self.request.follow_dest_symlinks => {
                Err(CopyError::DirOntoFile { from: node.path.clone(), to })
            }
            (false, Some(true)) => Err(CopyError::FileOntoDir { from: node.path.clone(), to }),
            _ => {
                self.plan.placements.insert(to.into(), placement);
                Ok(())
            }
        }
    }

    /// What is at a path whose links are resolved already, or must not be.
    fn find(&self, path: &Path) -> Result<Option<Node>> {
        let follow = self.request.follow_dest_symlinks;
        Ok(Resolver::new(self.existing).follow(follow).follow_last(false).run(path)?.node)
    }

    /// Whether there is a directory at `path`, or will be.
    fn is_dir(&self, path: &Path) -> Result<bool> {
        if self.plan.parents.iter().any(|(parent, _)| parent.starts_with(path)) {
            return Ok(true);
        }
        Ok(match self.plan.placements.get(path.as_os_str()) {
            Some(placement) => placement.node().meta.is_dir(),
            None => self.find(path)?.is_some_and(|node| node.meta.is_dir()),
        })
    }

    /// Whether something that is no directory is at `path` and has to stay.
    fn is_in_the_way(&self, path: &Path) -> Result<bool> {
        if self.plan.placements.contains_key(path.as_os_str()) {
            return Ok(true);
        }
        let follow = self.request.follow_dest_symlinks;
        Ok(follow && self.find(path)?.is_some())
    }
}
