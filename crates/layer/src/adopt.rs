//! Fitting a layer that was unpacked on its own onto the layers below it.

use std::path::Path;

use crate::apply::Applied;
use crate::upper::{Attributes, Upper};
use crate::{Result, View};

/// Fits the layer in `upper`, unpacked by [`apply`](crate::apply()) without the layers below, onto
/// them: so that layers can be unpacked in parallel, in any order, and then be stacked.
///
/// A directory the archive goes through without listing it gets the owner, mode, times and
/// attributes it has below, instead of showing the made-up ones over them. If the archive hides
/// everything below its root, that is named one by one.
///
/// Returns false, and has changed nothing, when a directory was made up where there is something
/// else below, such as a symbolic link to another directory. The archive then has to be unpacked
/// again with [`ApplyOptions::lower`](crate::ApplyOptions::lower) set.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io).
pub fn adopt(upper: &Path, applied: &Applied, lower: &View) -> Result<bool> {
    let mut below = Vec::new();
    for path in &applied.implied {
        match lower.lookup(path)? {
            // A link on the way leads to a place that was not meant either.
            Some(node) if !node.meta.is_dir() || node.path != *path => return Ok(false),
            Some(node) => below.push(node),
            None => {}
        }
    }
    let mut tree = Upper::open(upper, &View::new(Vec::new()))?;
    for node in &below {
        tree.take_over(&node.path, &Attributes::of(node)?)?;
    }
    tree.finish()?;
    if applied.opaque_root {
        hide_all(upper, lower)?;
    }
    Ok(true)
}

/// Hides every entry of the root of `lower`, unless `upper` has something in its place.
pub(crate) fn hide_all(upper: &Path, lower: &View) -> Result<()> {
    let Some(root) = lower.lookup("/")? else { return Ok(()) };
    let mut tree = Upper::open(upper, lower)?;
    let dir = tree.dir(Path::new("/"), &Attributes::implied_dir((0, 0)))?;
    for node in lower.children(&root)? {
        match tree.stat(&node.path)? {
            None => tree.put_whiteout(&dir, &node.path)?,
            Some(meta) if meta.is_dir() => tree.set_opaque(&node.path)?,
            Some(_) => {}
        }
    }
    tree.finish()?;
    Ok(())
}
