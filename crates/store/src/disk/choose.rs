//! The policy: which entries a rule gives up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, SystemTime};

use super::survey::{Item, Place, Survey};
use super::{DiskFilter, DiskKind};

/// One rule about what of the cache is given up; the terms are those of BuildKit's policies.
///
/// Without limits, a rule takes all it applies to. With any, it takes the least recently used until
/// the limits are met. What is in use, by an image, a container or a live process, is never taken,
/// nor anything that something that stays lies on.
#[derive(Debug, Clone, Default)]
pub struct PruneRule {
    /// Also what is internal: what failed steps left.
    pub all: bool,
    /// Applies to what one of these fits; to everything if there are none.
    pub filters: Vec<DiskFilter>,
    /// Applies to what was not used for so long.
    pub keep_duration: Option<Duration>,
    /// Most bytes that the cache may take.
    pub max_used: Option<u64>,
    /// Bytes that the cache may always take, whatever the other limits say.
    pub reserved: Option<u64>,
    /// Bytes that should be free on the file system.
    pub min_free: Option<u64>,
}

impl PruneRule {
    /// Bytes that the cache may keep, of `total` that it takes, with `free` bytes on the file system;
    /// none: the rule has no limit.
    pub(super) fn keep(&self, total: u64, free: u64) -> Option<u64> {
        if self.max_used.is_none() && self.reserved.is_none() && self.min_free.is_none() {
            return None;
        }
        let most = self.max_used.unwrap_or(if self.min_free.is_some() { total } else { 0 });
        let excess = self.min_free.unwrap_or(0).saturating_sub(free);
        let most = if excess > 0 { most.min(total.saturating_sub(excess)) } else { most };
        Some(most.max(self.reserved.unwrap_or(0)))
    }

    /// Whether the rule is about `item`, as long as nothing lies on that.
    fn applies(&self, item: &Item, now: SystemTime) -> bool {
        let entry = &item.entry;
        let old = |age| match last_use(item) {
            Some(used) => now.duration_since(used).unwrap_or_default() >= age,
            None => true,
        };
        item.place != Place::Other
            && !entry.in_use
            && (self.all || entry.kind != DiskKind::Internal || item.place == Place::Leftovers)
            && self.keep_duration.is_none_or(old)
            && (self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(entry)))
    }
}

fn last_use(item: &Item) -> Option<SystemTime> {
    match item.place {
        Place::Leftovers => None,
        _ => Some(item.entry.used.unwrap_or(item.entry.created)),
    }
}

impl Survey {
    /// Bytes that the cache takes: everything but what images and containers keep.
    pub(super) fn cached(&self) -> u64 {
        self.items.iter().filter(|item| !item.kept).map(|item| item.entry.bytes).sum()
    }

    /// What `rules`, one after the other, give up: indices of items, with those that lie on something
    /// before it. `free` are the bytes that the file system has left.
    pub(super) fn choose(&mut self, rules: &[PruneRule], free: u64) -> Vec<usize> {
        let now = SystemTime::now();
        let (mut total, mut free) = (self.cached(), free);
        let mut taken = vec![false; self.items.len()];
        let mut order = Vec::new();
        for rule in rules {
            let keep = rule.keep(total, free);
            let ready = |item: &Item| item.children == 0 && rule.applies(item, now);
            let candidate = |(index, item): (usize, &Item)| Reverse((last_use(item), index));
            let mut heap: BinaryHeap<_> = self
                .items
                .iter()
                .enumerate()
                .filter(|(index, item)| !taken[*index] && ready(item))
                .map(candidate)
                .collect();
            while keep.is_none_or(|keep| total > keep)
                && let Some(Reverse((_, index))) = heap.pop()
            {
                taken[index] = true;
                order.push(index);
                let freed = self.take_away(index);
                (total, free) = (total.saturating_sub(freed), free + freed);
                if let Some(parent) = self.items[index].parent {
                    self.items[parent].children -= 1;
                    if ready(&self.items[parent]) {
                        heap.push(candidate((parent, &self.items[parent])));
                    }
                }
            }
        }
        order
    }

    /// Bytes that are free when `index` is gone as well as all that were taken away before.
    fn take_away(&mut self, index: usize) -> u64 {
        let mut freed = self.items[index].size.own;
        for file in self.items[index].size.linked.iter().map(|linked| linked.file) {
            if let Some(shared) = self.linked.get_mut(&file) {
                shared.holders.retain(|holder| *holder != index);
                if shared.holders.is_empty() {
                    freed += shared.bytes;
                }
            }
        }
        // Counted with the last that has it, who is the one to free it.
        self.items[index].entry.bytes = freed;
        freed
    }
}
