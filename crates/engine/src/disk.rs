//! What takes how much of the disk, and giving up what is not needed.

pub use bld_store::{DiskEntry, DiskFilter, DiskKind, FilterError, PruneRule, Pruned};

use crate::{Engine, Result};

impl Engine {
    /// Everything that takes space in the store, smallest first.
    pub fn disk_usage(&self) -> Result<Vec<DiskEntry>> {
        let mut entries = self.store()?.disk_usage()?;
        entries.sort_by(|a, b| a.bytes.cmp(&b.bytes).then_with(|| a.id.cmp(&b.id)));
        Ok(entries)
    }

    /// Gives up what `rules` say of the build cache; with `dry_run`, only tells what that would be.
    pub fn prune_cache(&self, rules: &[PruneRule], dry_run: bool) -> Result<Pruned> {
        Ok(self.store()?.prune(rules, dry_run)?)
    }
}
