//! Removing what nobody needs any more.

use std::collections::HashSet;

use bld_oci::Digest;

use super::{ImageFilter, Removed};
use crate::{Engine, Result};

impl Engine {
    /// Removes images without a name that no container uses, or with `all` those with a name too.
    /// What was removed, and the bytes that were freed.
    pub fn prune_images(&self, all: bool, filter: &ImageFilter) -> Result<(Vec<Removed>, u64)> {
        let used: HashSet<Digest> = self.containers_using()?.into_iter().collect();
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for image in self.images(filter)? {
            if !used.contains(&image.record.id) && (all || image.tags.is_empty()) {
                let (parts, freed) = self.delete_image(&image.record.id.to_string(), true)?;
                removed.extend(parts);
                bytes += freed;
            }
        }
        Ok((removed, bytes))
    }
}
