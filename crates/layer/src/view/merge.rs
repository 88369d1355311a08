//! Merging the directories of a stack, one directory at a time.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Node, Verdict, View};
use crate::error::Context;
use crate::{Metadata, Result, sys, xattr};

/// A name while the layers are gone through from the top.
struct Slot {
    /// The file that is seen under the name; `None` when it is deleted.
    node: Option<Node>,
    /// Whether directories of lower layers still merge into it.
    open: bool,
}

impl View {
    /// The root directory, if there is any layer.
    pub(super) fn root(&self) -> Result<Option<Node>> {
        let mut slot = None;
        for layer in 0..self.layers.len() {
            if !self.add(&mut slot, layer, Path::new("/"))? {
                break;
            }
        }
        Ok(slot.and_then(|slot| slot.node))
    }

    /// The entry `name` of a directory. A directory that is only there for its contents is
    /// returned whether or not it has any.
    pub(crate) fn child(&self, dir: &Node, name: &OsStr) -> Result<Option<Node>> {
        let path = dir.path.join(name);
        let mut slot = None;
        for &layer in &dir.parts {
            if !self.add(&mut slot, layer, &path)? {
                break;
            }
        }
        let node = slot.and_then(|slot| slot.node);
        Ok(node.filter(|node| self.verdict(&node.path, node.meta.is_dir()) != Verdict::Skip))
    }

    /// The entries of a directory that was found before, sorted by the bytes of their names.
    ///
    /// # Errors
    /// [`LayerError::Io`](crate::LayerError::Io).
    pub fn children(&self, dir: &Node) -> Result<Vec<Node>> {
        let mut nodes = self.unfiltered(dir)?;
        if self.is_filtered() {
            let visible = |node| self.is_visible(&node).map(|it_is| it_is.then_some(node));
            nodes = nodes
                .into_iter()
                .filter_map(|node| visible(node).transpose())
                .collect::<Result<_>>()?;
        }
        nodes.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        Ok(nodes)
    }

    /// The entries of a directory whatever the filter says, in no particular order.
    pub(super) fn unfiltered(&self, dir: &Node) -> Result<Vec<Node>> {
        match dir.parts[..] {
            // The common case, and the only one in a build context: nothing to merge.
            [layer] => self.single(dir, layer),
            _ => self.merged(dir),
        }
    }

    fn single(&self, dir: &Node, layer: usize) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        self.scan(dir, layer, |name, meta| {
            if !(self.overlay && meta.is_whiteout()) {
                nodes.push(self.node(sys::inside(&dir.path, name), layer, meta));
            }
            Ok(())
        })?;
        Ok(nodes)
    }

    fn merged(&self, dir: &Node) -> Result<Vec<Node>> {
        let mut slots: HashMap<OsString, Option<Slot>> = HashMap::new();
        for &layer in &dir.parts {
            self.scan(dir, layer, |name, meta| {
                let path = sys::inside(&dir.path, name);
                self.merge(slots.entry(name.to_owned()).or_default(), layer, &path, meta)?;
                Ok(())
            })?;
        }
        Ok(slots.into_values().flatten().filter_map(|slot| slot.node).collect())
    }

    /// Calls `each` with the name and metadata of everything `layer` has in a directory.
    fn scan(
        &self,
        dir: &Node,
        layer: usize,
        mut each: impl FnMut(&OsStr, Metadata) -> Result<()>,
    ) -> Result<()> {
        let real = self.layers[layer].real(&dir.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = sys::open_beneath(self.layers[layer].root()?, dir.relative(), flags)
            .context("open directory", &real)?;
        for name in sys::names(&fd).context("read directory", &real)?.iter() {
            // A file may vanish between the two calls: build contexts are alive.
            let meta = sys::stat_at(&fd, name).with_context("stat", || real.join(sys::text(name)));
            if let Some(meta) = meta? {
                each(sys::text(name), meta)?;
            }
        }
        Ok(())
    }

    /// Looks `path` up in one layer. Returns whether the layers below can still add to it.
    fn add(&self, slot: &mut Option<Slot>, layer: usize, path: &Path) -> Result<bool> {
        let relative = sys::relative(path);
        let root = self.layers[layer].root()?;
        let meta = if relative.as_os_str().is_empty() {
            rustix::fs::fstat(root).map(|stat| Some(stat.into())).map_err(Into::into)
        } else {
            sys::stat_at(root, relative)
        };
        match meta.context("stat", self.layers[layer].real(path))? {
            Some(meta) => self.merge(slot, layer, path, meta),
            None => Ok(true),
        }
    }

    /// Puts what a layer has under a name below what the layers above it have. Returns whether
    /// the layers below can still add to it.
    fn merge(
        &self,
        slot: &mut Option<Slot>,
        layer: usize,
        path: &Path,
        meta: Metadata,
    ) -> Result<bool> {
        let is_dir = meta.is_dir();
        match slot {
            Some(Slot { open: false, .. }) => return Ok(false),
            Some(Slot { node: Some(node), open: open @ true }) => {
                *open = is_dir && !self.is_opaque(layer, path)?;
                if is_dir {
                    node.parts.push(layer);
                }
            }
            Some(Slot { node: None, .. }) | None => {
                let deleted = self.overlay && meta.is_whiteout();
                let node = (!deleted).then(|| self.node(path.to_owned(), layer, meta));
                *slot = Some(Slot { node, open: is_dir && !self.is_opaque(layer, path)? });
            }
        }
        Ok(slot.as_ref().is_some_and(|slot| slot.open))
    }

    fn node(&self, path: std::path::PathBuf, layer: usize, meta: Metadata) -> Node {
        let parts = if meta.is_dir() { vec![layer] } else { Vec::new() };
        Node { path, meta, parts, layer: Arc::clone(&self.layers[layer]) }
    }

    /// Whether a directory hides the layers below its own. The roots of layers always merge, and
    /// below the lowest there is nothing to hide.
    fn is_opaque(&self, layer: usize, path: &Path) -> Result<bool> {
        if !self.overlay || layer + 1 == self.layers.len() || path.parent().is_none() {
            return Ok(false);
        }
        let real = self.layers[layer].real(path);
        xattr::is_opaque(&real).context("read the extended attributes of", &real)
    }
}
