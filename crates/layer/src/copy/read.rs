//! What an item consists of: walking it, and looking into its files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::Item;
use crate::digest::{self, Inside};
use crate::{Kind, Node, Result, StatCache, Verdict, View};

/// A file that is copied.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) node: Node,
    /// Where the path relative to the item begins in that of the node.
    start: usize,
    /// What was found in it, if the item was read.
    pub(super) inside: Option<Inside>,
}

/// Everything that is taken of an item, parents first, sorted. It is in runs, none of them empty: files
/// are many and not small, so they are not moved again to lie behind each other.
#[derive(Debug, Default)]
pub(super) struct TakenFiles(Vec<Vec<Taken>>);

/// Which of them: the run, and the place in it.
pub(super) type Place = (usize, usize);

/// So many are given back to the allocator beside the work that follows, not before it.
const MANY: usize = 10_000;

impl TakenFiles {
    pub(super) fn runs(&self) -> &[Vec<Taken>] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, (run, place): Place) -> &Taken {
        &self.0[run][place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Taken)> {
        self.0.iter().enumerate().flat_map(|(run, files)| {
            files.iter().enumerate().map(move |(place, taken)| ((run, place), taken))
        })
    }

    pub(super) fn par_iter(&self) -> impl ParallelIterator<Item = &Taken> {
        self.0.par_iter().flatten()
    }
}

impl Drop for TakenFiles {
    fn drop(&mut self) {
        if self.len() >= MANY {
            let runs = std::mem::take(&mut self.0);
            // Without a thread, they are dropped with the closure.
            let _ = std::thread::Builder::new().spawn(move || drop(runs));
        }
    }
}

impl Taken {
    /// Its path relative to the item: empty for a file that is an item itself.
    pub(super) fn path(&self) -> &Path {
        inner_path(&self.node, self.start)
    }
}

fn inner_path(node: &Node, start: usize) -> &Path {
    let path = node.path.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(path.get(start..).unwrap_or_default()))
}

/// Walks the items and looks into all that is taken of them, once: what is found stays with the
/// items, and is what their [digest](super::selection_digest) and a [copy](super::copy) of them are
/// of. Should a file have changed when it is copied, the copy tells.
///
/// Files whose stamp `cache` knows are not opened; all others are read in parallel on the pool of
/// the caller.
///
/// # Errors
/// [`LayerError`](crate::LayerError) when the source cannot be read.
pub fn read(source: &View, items: &mut [Item], cache: Option<&dyn StatCache>) -> Result<()> {
    for item in items {
        item.read = Some(item.look(source, cache)?);
    }
    Ok(())
}

impl Item {
    /// What is taken, looked into; from memory if the item was read.
    pub(super) fn look(
        &self,
        source: &View,
        cache: Option<&dyn StatCache>,
    ) -> Result<Arc<TakenFiles>> {
        if let Some(read) = &self.read {
            return Ok(Arc::clone(read));
        }
        let mut taken = self.walk(source, cache)?;
        let unknown = taken.0.par_iter_mut().flatten().filter(|taken| taken.inside.is_none());
        unknown.try_for_each(|taken| {
            taken.inside = Some(digest::look_inside(source, &taken.node, cache)?);
            Ok::<_, crate::LayerError>(())
        })?;
        Ok(Arc::new(taken))
    }

    /// What is taken, looked into or not.
    pub(super) fn taken(&self, source: &View) -> Result<Arc<TakenFiles>> {
        match &self.read {
            Some(read) => Ok(Arc::clone(read)),
            None => Ok(Arc::new(self.walk(source, None)?)),
        }
    }

    /// What is taken. What `cache` knows is put to it at once, while it is at hand.
    fn walk(&self, source: &View, cache: Option<&dyn StatCache>) -> Result<TakenFiles> {
        let path = self.node.path.as_os_str().as_bytes();
        if self.is_dir() {
            // Without the slash between, which the root ends in already.
            let start = if path == b"/" { 1 } else { path.len() + 1 };
            let walk = Walk { item: self, source, cache, start };
            return Ok(TakenFiles(walk.below(&self.node)?));
        }
        let taken = self.verdict(Path::new(&self.name), &self.node) == Verdict::Take;
        let file = || Taken { node: self.node.clone(), start: path.len(), inside: None };
        Ok(TakenFiles(taken.then(|| vec![file()]).into_iter().collect()))
    }

    fn verdict(&self, path: &Path, node: &Node) -> Verdict {
        // There is nothing a socket could be in an image; a whiteout would delete.
        if node.meta.kind == Kind::Socket || node.meta.is_whiteout() {
            return Verdict::Skip;
        }
        match self.filter.as_ref().map(|filter| filter(path, node.meta.is_dir())) {
            Some(Verdict::Descend) if !node.meta.is_dir() => Verdict::Skip,
            verdict => verdict.unwrap_or(Verdict::Take),
        }
    }
}

/// Going through an item.
struct Walk<'a> {
    item: &'a Item,
    source: &'a View,
    cache: Option<&'a dyn StatCache>,
    /// Where the path relative to the item begins in those of nodes.
    start: usize,
}

impl Walk<'_> {
    /// What is taken of a directory, in runs.
    fn below(&self, dir: &Node) -> Result<Vec<Vec<Taken>>> {
        let start = self.start;
        let verdict = |child: &Node| self.item.verdict(inner_path(child, start), child);
        let mut children = self.source.children(dir)?;
        children.retain(|child| verdict(child) != Verdict::Skip);
        let dirs: Vec<&Node> = children.iter().filter(|child| child.meta.is_dir()).collect();
        let below = dirs.into_par_iter().map(|dir| self.below(dir));
        let mut below = below.collect::<Result<Vec<_>>>()?.into_iter();

        let (mut runs, mut run) = (Vec::new(), Vec::with_capacity(children.len()));
        for node in children {
            let below =
                if node.meta.is_dir() { below.next().unwrap_or_default() } else { Vec::new() };
            // Of what is no directory nothing is left but what is taken.
            let is_taken = !node.meta.is_dir() || !below.is_empty();
            if is_taken || verdict(&node) == Verdict::Take {
                let inside = digest::known_inside(&node, self.cache);
                run.push(Taken { node, start, inside });
            }
            if !below.is_empty() {
                runs.push(std::mem::take(&mut run));
                runs.extend(below);
            }
        }
        runs.extend((!run.is_empty()).then_some(run));
        Ok(runs)
    }
}
