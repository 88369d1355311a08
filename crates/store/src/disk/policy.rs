//! The rules that hold where nobody says otherwise: those of buildkitd.

use std::time::Duration;

use super::choose::PruneRule;
use super::{DiskFilter, DiskKind};

/// A gigabyte, in which buildkitd's limits are given.
const GB: u64 = 1_000_000_000;

const DAY: Duration = Duration::from_hours(24);

/// How much space the cache may take, in bytes; none: no limit. The terms are those of [`PruneRule`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceLimits {
    /// See [`PruneRule::reserved`].
    pub reserved: Option<u64>,
    /// See [`PruneRule::max_used`].
    pub max_used: Option<u64>,
    /// See [`PruneRule::min_free`].
    pub min_free: Option<u64>,
}

impl SpaceLimits {
    /// The limits on a disk of `total` bytes.
    pub fn of_disk(total: u64) -> Self {
        Self {
            reserved: Some(percent(total, 10).min(10 * GB)),
            max_used: Some(percent(total, 80).min(100 * GB)),
            min_free: Some(percent(total, 20)),
        }
    }
}

/// So many percent of a disk of `total` bytes; as for buildkitd, in gigabytes that are begun.
pub fn percent(total: u64, percent: u64) -> u64 {
    let part = u128::from(total) * u128::from(percent) / 100;
    let begun = (part >> 30) + 1;
    u64::try_from(begun).unwrap_or(u64::MAX).saturating_mul(GB)
}

impl PruneRule {
    /// What is given up first to keep within `limits`, and what then.
    pub fn defaults(limits: SpaceLimits) -> Vec<Self> {
        let SpaceLimits { reserved, max_used, min_free } = limits;
        let within = Self { max_used, reserved, min_free, ..Self::default() };
        let cheap = [DiskKind::LocalSource, DiskKind::CacheMount, DiskKind::GitCheckout];
        vec![
            // What is made again most easily.
            Self {
                filters: cheap.map(DiskFilter::of_kind).to_vec(),
                keep_duration: Some(2 * DAY),
                max_used: Some(512_000_000),
                ..Self::default()
            },
            Self { keep_duration: Some(60 * DAY), ..within.clone() },
            within.clone(),
            Self { all: true, ..within },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_buildkitd() {
        let limits = SpaceLimits::of_disk(1000 << 30);
        assert_eq!(limits.reserved, Some(10 * GB));
        assert_eq!(limits.max_used, Some(100 * GB));
        assert_eq!(limits.min_free, Some(201 * GB));
        let small = SpaceLimits::of_disk(50 << 30);
        let expected = [6, 41, 11].map(|gigabytes| Some(gigabytes * GB));
        assert_eq!([small.reserved, small.max_used, small.min_free], expected);
    }

    #[test]
    fn rules_are_those_of_buildkitd() {
        let max_used = Some(7);
        let rules = PruneRule::defaults(SpaceLimits { max_used, ..SpaceLimits::default() });
        let hours = |rule: &PruneRule| rule.keep_duration.map(|age| age.as_secs() / 3600);
        assert_eq!(rules.iter().map(hours).collect::<Vec<_>>(), [Some(48), Some(1440), None, None]);
        assert_eq!(rules.iter().map(|rule| rule.filters.len()).collect::<Vec<_>>(), [3, 0, 0, 0]);
        assert!(rules[3].all && rules[1..].iter().all(|rule| rule.max_used == max_used));
    }
}
