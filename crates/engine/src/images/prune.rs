//! Removing what nobody needs any more.

use std::collections::HashSet;
use std::time::Duration;

use bld_oci::Digest;
use bld_store::GcPolicy;

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

    /// Removes results of build steps that were not used for so long; the bytes that were freed.
    pub fn prune_cache(&self, unused_for: Duration) -> Result<u64> {
        let policy = GcPolicy { unused_for: Some(unused_for), ..GcPolicy::default() };
        Ok(self.store()?.gc(&policy)?.bytes)
    }

    /// Reads everything in the store and compares it with what it should be; one line for each
    /// thing that is not.
    pub fn check_store(&self) -> Result<Vec<String>> {
        let problems = self.store()?.check()?;
        Ok(problems.iter().map(ToString::to_string).collect())
    }
}
