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
        let path = self.node.path.as_os_str().as_bytes();
        Path::new(OsStr::from_bytes(path.get(self.start..).unwrap_or_default()))
    }
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
    ) -> Result<Arc<[Taken]>> {
        if let Some(read) = &self.read {
            return Ok(Arc::clone(read));
        }
        let mut taken = self.walk(source)?;
        taken.par_iter_mut().try_for_each(|taken| {
            taken.inside = Some(digest::look_inside(source, &taken.node, cache)?);
            Ok::<_, crate::LayerError>(())
        })?;
        Ok(taken.into())
    }

    /// What is taken: of a directory, everything below it, parents first, sorted.
    pub(super) fn taken(&self, source: &View) -> Result<Arc<[Taken]>> {
        match &self.read {
            Some(read) => Ok(Arc::clone(read)),
            None => Ok(self.walk(source)?.into()),
        }
    }

    fn walk(&self, source: &View) -> Result<Vec<Taken>> {
        let path = self.node.path.as_os_str().as_bytes();
        if self.is_dir() {
            // Without the slash between, which the root ends in already.
            let start = if path == b"/" { 1 } else { path.len() + 1 };
            return self.below(source, &self.node, start);
        }
        let taken = self.verdict(Path::new(&self.name), &self.node) == Verdict::Take;
        let (node, start) = (self.node.clone(), path.len());
        Ok(taken.then(|| Taken { node, start, inside: None }).into_iter().collect())
    }

    fn below(&self, source: &View, dir: &Node, start: usize) -> Result<Vec<Taken>> {
        let mut children: Vec<Taken> = Vec::new();
        for node in source.children(dir)? {
            children.push(Taken { node, start, inside: None });
        }
        let is_leaf = !children.iter().any(|child| child.node.meta.is_dir());
        let verdict = |child: &Taken| self.verdict(child.path(), &child.node);
        if is_leaf {
            // Most directories: nothing that another thread could do.
            children.retain(|child| verdict(child) == Verdict::Take);
            return Ok(children);
        }
        let below = children.into_par_iter().map(|child| {
            let verdict = verdict(&child);
            if verdict == Verdict::Skip {
                return Ok(Vec::new());
            }
            let dir = child.node.meta.is_dir();
            let below = if dir { self.below(source, &child.node, start)? } else { Vec::new() };
            let is_taken = verdict == Verdict::Take || !below.is_empty();
            Ok(is_taken.then_some(child).into_iter().chain(below).collect())
        });
        let below: Vec<Vec<_>> = below.collect::<Result<_>>()?;
        Ok(below.into_iter().flatten().collect())
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
