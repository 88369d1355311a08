//! Keeping the cache within limits while builds go on.
//!
//! A survey looks at every file, which is too much for the end of every build. So what the last one
//! found is written down, and as long as that and the space that has gone since are within the limits
//! nothing more is done.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::choose::PruneRule;
use super::prune::Pruned;
use crate::error::Result;
use crate::{Store, layout};

/// How often there is a survey at most.
const OFTEN: Duration = Duration::from_mins(1);

/// How often there is one at least: only a survey sees that things have become old, or cache because
/// their image was removed.
const RARELY: Duration = Duration::from_hours(6);

/// What was known when the cache was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Bytes that the cache took.
    cached: u64,
    /// Bytes that the file system had free.
    free: u64,
    /// How long that is ago.
    age: Duration,
}

impl Seen {
    fn parse(text: &str, age: Duration) -> Option<Self> {
        let (cached, free) = text.trim_end().split_once(' ')?;
        Some(Self { cached: cached.parse().ok()?, free: free.parse().ok()?, age })
    }

    /// Whether something may be there to give up, now that `free` bytes are free.
    fn is_due(&self, rules: &[PruneRule], free: u64) -> bool {
        let cached = self.cached.saturating_add(self.free.saturating_sub(free));
        let over = |rule: &PruneRule| {
            // What has to become old can wait for a part of that time.
            self.age >= rule.keep_duration.unwrap_or_default() / 8
                && rule.keep(cached, free).is_none_or(|keep| cached > keep)
        };
        self.age >= RARELY || (self.age >= OFTEN && rules.iter().any(over))
    }
}

impl Store {
    /// [Prunes](Self::prune) by the rules that `rules` has for a disk of so many bytes, if they may
    /// have something to give up; nothing if not, or if that was looked for just now.
    ///
    /// Costs next to nothing where the limits are not near.
    pub fn collect_if_due(
        &self,
        rules: impl FnOnce(u64) -> Vec<PruneRule>,
    ) -> Result<Option<Pruned>> {
        let (total, free) = self.free_space()?;
        let rules = rules(total);
        let known = self.seen();
        // Nobody has looked: the cache is all that there is, at worst.
        let worst = Seen { cached: total.saturating_sub(free), free, age: OFTEN };
        if known.unwrap_or(worst).is_due(&rules, free) {
            let (pruned, left) = self.survey_and_prune(&rules, false)?;
            self.set_seen(left, self.free_space()?.1)?;
            return Ok(Some(pruned));
        }
        if known.is_none() {
            self.set_seen(worst.cached, free)?;
        }
        Ok(None)
    }

    /// Notes for a new store that there is no cache yet.
    pub(crate) fn begin_empty(&self) {
        // Without it, the first build has to look.
        let _ = self.free_space().and_then(|(_, free)| self.set_seen(0, free));
    }

    fn seen(&self) -> Option<Seen> {
        let path = self.inner().root.join(layout::COLLECTED);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        // From the future, where the clock has been set back: as old as can be.
        let age = SystemTime::now().duration_since(modified).unwrap_or(RARELY);
        Seen::parse(&fs::read_to_string(path).ok()?, age)
    }

    fn set_seen(&self, cached: u64, free: u64) -> Result<()> {
        let root = &self.inner().root;
        fs::write(root.join(layout::COLLECTED), format!("{cached} {free}\n")).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            root.error("write", layout::COLLECTED, errno)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_decide_and_time() {
        let limit = |max_used| vec![PruneRule { max_used: Some(max_used), ..PruneRule::default() }];
        let seen = |minutes| Seen { cached: 100, free: 1000, age: Duration::from_mins(minutes) };
        assert!(!seen(1).is_due(&limit(100), 1000));
        assert!(seen(1).is_due(&limit(99), 1000));
        assert!(!seen(0).is_due(&limit(99), 1000), "just now");
        assert!(seen(1).is_due(&limit(100), 999), "something came to it");
        assert!(!seen(1).is_due(&limit(100), 1001));
        assert!(seen(360).is_due(&limit(100), 1000), "long ago");

        let old = PruneRule { keep_duration: Some(OFTEN * 80), ..PruneRule::default() };
        assert!(!seen(9).is_due(std::slice::from_ref(&old), 1000));
        assert!(seen(10).is_due(&[old], 1000));
        let free = PruneRule { min_free: Some(1000), ..PruneRule::default() };
        assert!(!seen(1).is_due(std::slice::from_ref(&free), 1000));
        assert!(seen(1).is_due(&[free], 950));
    }

    #[test]
    fn what_was_seen_is_read_or_not_known() {
        let age = OFTEN;
        assert_eq!(Seen::parse("12 345\n", age), Some(Seen { cached: 12, free: 345, age }));
        for text in ["", "12", "12 ", "a b\n"] {
            assert_eq!(Seen::parse(text, age), None, "{text:?}");
        }
    }
}
