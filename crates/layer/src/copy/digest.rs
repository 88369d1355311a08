//! What makes one COPY differ from another.

use std::path::Path;

use bld_oci::{Digest, Hasher};

use super::{Chmod, CopyError, Item, landing};
use crate::{Result, StatCache, View, digest};

/// The digest of what `items` are, as they will land with the given owner and mode: relative path,
/// kind, mode, owner, extended attributes, link target and bytes of every file. Neither times nor
/// inode numbers count. The order of the items does, as later ones replace earlier ones.
///
/// Of a directory, only what is in it is copied, so neither its name nor its mode counts.
///
/// # Errors
/// [`CopyError::Layer`] when the source cannot be read.
pub fn selection_digest(
    source: &View,
    items: &[Item],
    owner: Option<(u32, u32)>,
    chmod: Option<&Chmod>,
    cache: Option<&dyn StatCache>,
) -> Result<Digest, CopyError> {
    let mut hasher = Hasher::new();
    for item in items {
        let taken = item.look(source, cache)?;
        // Where an item begins, and whether it is merged into the destination or put into it.
        hasher.update(if item.is_dir() { b"D" } else { b"F" });
        hasher.update(&(taken.len() as u64).to_le_bytes());
        digest::hash_records(&mut hasher, taken.runs(), |taken, records| {
            let path = if item.is_dir() { taken.path() } else { Path::new(&item.name) };
            let attributes = landing(taken, owner, chmod, None)?;
            let inside = taken.inside.as_ref();
            let contents = inside.and_then(|inside| inside.contents).map(|read| read.digest);
            digest::record(records, path, &taken.node, &attributes, contents)
        })?;
    }
    Ok(hasher.finish())
}
