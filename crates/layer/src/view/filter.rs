//! Hiding part of a tree.

use std::path::Path;
use std::sync::Arc;

use super::{Node, View};
use crate::{Result, sys};

/// What a [`Filter`] says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The path is there.
    Take,
    /// The path is not there, and neither is anything below it.
    Skip,
    /// A directory that is not selected itself but may hold something that is: it is there when
    /// something below it is taken. For anything but a directory, the same as `Skip`.
    Descend,
}

/// Selects part of a tree: called with a path relative to the root of the tree, and whether the
/// file there is a directory. Must not depend on the order of the calls.
pub type Filter = Arc<dyn Fn(&Path, bool) -> Verdict + Send + Sync>;

impl View {
    /// What the filter says of a file. Nothing can hide the root.
    pub(super) fn verdict(&self, path: &Path, is_dir: bool) -> Verdict {
        let Some(filter) = &self.filter else { return Verdict::Take };
        let path = sys::unrooted(path);
        if path.as_os_str().is_empty() {
            return Verdict::Take;
        }
        match filter(path, is_dir) {
            Verdict::Descend if !is_dir => Verdict::Skip,
            verdict => verdict,
        }
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// The node unless it is a directory that is only there for its contents and has none.
    pub(super) fn visible(&self, node: Option<Node>) -> Result<Option<Node>> {
        match node {
            Some(node) if !self.is_visible(&node)? => Ok(None),
            node => Ok(node),
        }
    }

    pub(super) fn is_visible(&self, node: &Node) -> Result<bool> {
        match self.verdict(&node.path, node.meta.is_dir()) {
            Verdict::Take => Ok(true),
            Verdict::Skip => Ok(false),
            Verdict::Descend => {
                for child in self.unfiltered(node)? {
                    if self.is_visible(&child)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}
