//! Giving up what the rules say.

use std::collections::HashSet;
use std::time::SystemTime;

use super::choose::PruneRule;
use super::survey::{Item, Place, Survey};
use super::{DiskEntry, DiskKind};
use crate::error::Result;
use crate::gc::{Doomed, GcReport};

use crate::{SnapshotId, Store, layout};

/// What was given up, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The entries, each with the bytes that its going freed.
    pub entries: Vec<DiskEntry>,
    /// Bytes that were freed.
    pub bytes: u64,
}

impl Store {
    /// Gives up what `rules` say, in their order, and with it all that nothing needs; with `dry_run`
    /// it only tells.
    ///
    /// Nothing that a live process holds is touched. It works on a full disk.
    pub fn prune(&self, rules: &[PruneRule], dry_run: bool) -> Result<Pruned> {
        Ok(self.survey_and_prune(rules, dry_run)?.0)
    }

    /// [Prunes](Self::prune), and says how many bytes the cache takes then.
    pub(super) fn survey_and_prune(
        &self,
        rules: &[PruneRule],
        dry_run: bool,
    ) -> Result<(Pruned, u64)> {
        let mut survey = Survey::take(self)?;
        let cached = survey.cached();
        let chosen = survey.choose(rules, self.free_space()?.1);
        let doomed = Doomed {
            snapshots: chosen
                .iter()
                .filter_map(|&index| survey.items[index].as_snapshot())
                .collect(),
            dry_run,
            records_until: rules.iter().filter_map(everything_until).max(),
            journals_until: rules
                .iter()
                .filter(|rule| rule.all || rule.keep_duration.is_some())
                .filter_map(everything_until)
                .max(),
            ..Doomed::default()
        };
        let report = self.give_up(&doomed)?;
        let mut gone: HashSet<usize> = HashSet::new();
        for index in chosen {
            if self.remove_place(&survey.items[index].place, &report, dry_run)? {
                gone.insert(index);
            }
        }
        let pruned = survey.into_pruned(&gone, &report);
        let left = cached.saturating_sub(pruned.bytes);
        Ok((pruned, left))
    }

    /// Bytes of the file system that the store lies on: all, and those that are free.
    pub fn free_space(&self) -> Result<(u64, u64)> {
        let root = &self.inner().root;
        let disk = rustix::fs::fstatvfs(root).map_err(|errno| root.error("measure", "", errno))?;
        Ok((disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))
    }
}

/// Until when records that made nothing, and so take no space, were used last to be given up by
/// `rule`.
fn everything_until(rule: &PruneRule) -> Option<SystemTime> {
    let limited = rule.max_used.is_some() || rule.reserved.is_some() || rule.min_free.is_some();
    if !rule.filters.is_empty() || (limited && rule.keep_duration.is_none()) {
        return None;
    }
    SystemTime::now().checked_sub(rule.keep_duration.unwrap_or_default())
}

impl Item {
    /// The snapshot that goes with this, and when it was used last.
    fn as_snapshot(&self) -> Option<(SnapshotId, SystemTime)> {
        match self.place {
            Place::Snapshot(id) => Some((id, self.entry.used.unwrap_or(self.entry.created))),
            _ => None,
        }
    }
}

impl Survey {
    /// What is gone, whoever decided so.
    fn into_pruned(self, gone: &HashSet<usize>, report: &GcReport) -> Pruned {
        let mut unknown: HashSet<_> = report.snapshots.iter().copied().collect();
        let mut entries = Vec::new();
        for (index, item) in self.items.into_iter().enumerate() {
            let collected = match item.place {
                Place::Snapshot(id) => unknown.remove(&id),
                _ => gone.contains(&index),
            };
            if collected && (item.place != Place::Leftovers || item.entry.bytes > 0) {
                entries.push(item.entry);
            }
        }
        // What was made after the survey and let go at once.
        entries.extend(unknown.into_iter().map(|id| DiskEntry {
            id: id.to_string(),
            kind: DiskKind::Regular,
            ..DiskEntry::default()
        }));
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        Pruned { entries, bytes }
    }
}

impl Store {
    /// Removes what is no row of the database; whether it is gone.
    fn remove_place(&self, place: &Place, report: &GcReport, dry_run: bool) -> Result<bool> {
        match place {
            Place::Snapshot(id) => Ok(report.snapshots.contains(id)),
            Place::CacheMount(name) => self.give_cache_mount_up(name, dry_run),
            Place::StatCache(name) if !dry_run => {
                self.inner().root.unlink(&layout::stat_cache(name))
            }
            Place::StatCache(_) | Place::Leftovers => Ok(true),
            Place::Other => Ok(false),
        }
    }
}
