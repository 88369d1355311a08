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
    ) -> Result<Arc<Vec<Taken>>> {
        if let Some(read) = &self.read {
            return Ok(Arc::clone(read));
        }
        let mut taken = self.walk(source)?;
        taken.par_iter_mut().try_for_each(|taken| {
            taken.inside = Some(digest::look_inside(source, &taken.node, cache)?);
            Ok::<_, crate::LayerError>(())
        })?;
        Ok(Arc::new(taken))
    }

    /// What is taken: of a directory, everything below it, parents first, sorted.
    pub(super) fn taken(&self, source: &View) -> Result<Arc<Vec<Taken>>> {
        match &self.read {
            Some(read) => Ok(Arc::clone(read)),
            None => Ok(Arc::new(self.walk(source)?)),
        }
    }

    fn walk(&self, source: &View) -> Result<Vec<Taken>> {
        let path = self.node.path.as_os_str().as_bytes();
        if self.is_dir() {
            // Without the slash between, which the root ends in already.
            let start = if path == b"/" { 1 } else { path.len() + 1 };
            let runs = self.below(source, &self.node, start)?;
            let mut taken = Vec::with_capacity(runs.iter().map(Vec::len).sum());
            taken.extend(runs.into_iter().flatten());
            return Ok(taken);
        }
        let taken = self.verdict(Path::new(&self.name), &self.node) == Verdict::Take;
        let (node, start) = (self.node.clone(), path.len());
        Ok(taken.then(|| Taken { node, start, inside: None }).into_iter().collect())
    }

    /// What is taken of a directory, in runs, none of them empty: files are many and not small, so
    /// that they are not moved again for each directory above.
    fn below(&self, source: &View, dir: &Node, start: usize) -> Result<Vec<Vec<Taken>>> {
        let verdict = |child: &Node| self.verdict(inner_path(child, start), child);
        let mut children = source.children(dir)?;
        children.retain(|child| verdict(child) != Verdict::Skip);
        let dirs: Vec<&Node> = children.iter().filter(|child| child.meta.is_dir()).collect();
        let below = dirs.into_par_iter().map(|dir| self.below(source, dir, start));
        let mut below = below.collect::<Result<Vec<_>>>()?.into_iter();

        let (mut runs, mut run) = (Vec::new(), Vec::with_capacity(children.len()));
        for node in children {
            let below =
                if node.meta.is_dir() { below.next().unwrap_or_default() } else { Vec::new() };
            // Of what is no directory nothing is left but what is taken.
            let is_taken = !node.meta.is_dir() || !below.is_empty();
            if is_taken || verdict(&node) == Verdict::Take {
                run.push(Taken { node, start, inside: None });
            }
            if !below.is_empty() {
                runs.push(std::mem::take(&mut run));
                runs.extend(below);
            }
        }
        runs.extend((!run.is_empty()).then_some(run));
        Ok(runs)
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
