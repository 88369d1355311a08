//! Going through a view.

use std::ffi::OsStr;
use std::iter::once;
use std::path::Path;

use rayon::prelude::*;

use super::{Node, View};
use crate::Result;

/// What [`View::walk`] does after a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Goes on, into the node when it is a directory.
    Into,
    /// Goes on past the node.
    Past,
    /// Ends the walk.
    Stop,
}

impl View {
    /// Visits everything below the directory that `path` leads to, parents first, siblings sorted
    /// by name. The directory itself is not visited. Symbolic links are visited, not followed.
    ///
    /// # Errors
    /// Those of [`read_dir`](Self::read_dir) and of `visit`.
    pub fn walk(
        &self,
        path: impl AsRef<Path>,
        visit: &mut dyn FnMut(&Node) -> Result<Walk>,
    ) -> Result<()> {
        // What is left to visit, the next node last.
        let mut rest = self.read_dir(path)?;
        rest.reverse();
        while let Some(node) = rest.pop() {
            match visit(&node)? {
                Walk::Into if node.meta.is_dir() => {
                    rest.extend(self.children(&node)?.into_iter().rev());
                }
                Walk::Into | Walk::Past => {}
                Walk::Stop => break,
            }
        }
        Ok(())
    }

    /// Everything below a directory in the order of [`walk`](Self::walk), read in parallel.
    ///
    /// # Errors
    /// [`LayerError::Io`](crate::LayerError::Io).
    pub fn tree(&self, dir: &Node) -> Result<Vec<Node>> {
        let below = self.children(dir)?.into_par_iter().map(|node| {
            let below = if node.meta.is_dir() { self.tree(&node)? } else { Vec::new() };
            Ok((node, below))
        });
        let below: Vec<_> = below.collect::<Result<_>>()?;
        Ok(below.into_iter().flat_map(|(node, below)| once(node).chain(below)).collect())
    }

    /// The files exactly `levels` below the directory that `base` leads to, whose name, and the
    /// name of every directory between, matches: `matches(0, name)` is asked of the entries of
    /// `base`. Symbolic links below `base` are not followed. Nothing there is no error.
    ///
    /// # Errors
    /// [`LayerError::Io`](crate::LayerError::Io), [`LayerError::SymlinkLoop`](crate::LayerError::SymlinkLoop).
    pub fn glob(
        &self,
        base: impl AsRef<Path>,
        levels: usize,
        matches: &dyn Fn(usize, &OsStr) -> bool,
    ) -> Result<Vec<Node>> {
        let mut found: Vec<Node> = self.resolve(base)?.into_iter().collect();
        for level in 0..levels {
            let mut below = Vec::new();
            for dir in found.iter().filter(|node| node.meta.is_dir()) {
                let children = self.children(dir)?;
                below.extend(children.into_iter().filter(|node| matches(level, node.name())));
            }
            found = below;
        }
        Ok(found)
    }
}
