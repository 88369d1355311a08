//! What takes how much of the disk, and giving up what is not needed.

pub use bld_store::{
    DiskEntry, DiskFilter, DiskKind, FilterError, PruneRule, Pruned, SpaceLimits, percent,
};

use bld_layer::TarOptions;
use bld_store::Repair;

use crate::{Engine, Result};

/// Something in the store that is not as it should be.
#[derive(Debug, Clone)]
pub struct Damage {
    /// What is wrong.
    pub problem: String,
    /// Who refers to it.
    pub concerned: Vec<String>,
    /// What became of it, if it was to be repaired.
    pub repair: Option<Repair>,
}

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

    /// Gives up what the rules say that `rules` has for a disk of so many bytes, if it may be time to;
    /// nothing if not. For the end of builds: quick where the limits are not near.
    pub fn collect_cache(
        &self,
        rules: impl FnOnce(u64) -> Vec<PruneRule>,
    ) -> Result<Option<Pruned>> {
        Ok(self.store()?.collect_if_due(rules)?)
    }

    /// Reads everything in the store and compares it with what it should be. With `repair`, what is
    /// damaged is dropped with what is of no use without it, to be fetched or made again.
    pub fn check_store(&self, repair: bool) -> Result<Vec<Damage>> {
        let store = self.store()?;
        let problems = store.check_with(&|upper| {
            // What is missing has been said.
            upper.symlink_metadata()?;
            let diff_id = bld_layer::diff_id(upper, &TarOptions::default());
            diff_id.map(|(diff_id, _)| diff_id).map_err(std::io::Error::other)
        })?;
        let examine = |problem| {
            Ok(Damage {
                problem: format!("{problem}"),
                concerned: store.concerned(&problem)?,
                repair: if repair { Some(store.repair(&problem)?) } else { None },
            })
        };
        problems.into_iter().map(examine).collect()
    }
}
