//! Whether a container that has ended is started again, and when.

use std::time::Duration;

use super::model::{RestartCondition, RestartPolicy};

/// How long to wait after the first end.
const FIRST: Duration = Duration::from_millis(100);

/// How long to wait at most.
const LONGEST: Duration = Duration::from_mins(1);

/// A container that has run for so long was started with success: the next wait is the first.
const SOUND: Duration = Duration::from_secs(10);

/// The waits between the starts of one container, each twice as long as the one before.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// How long to wait before a container that has ended with `code`, after it `lasted` so long
    /// and was started again so many times, is started again; none when it is not.
    pub(super) fn next(
        &mut self,
        policy: &RestartPolicy,
        restarts: u32,
        code: i32,
        lasted: Duration,
    ) -> Option<Duration> {
        let most = policy.maximum_retry_count;
        let again = match policy.name {
            RestartCondition::No => false,
            RestartCondition::Always | RestartCondition::UnlessStopped => true,
            RestartCondition::OnFailure => code != 0 && (most == 0 || restarts < most),
        };
        if !again {
            return None;
        }
        let pause = match self.last {
            Some(last) if lasted < SOUND => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: RestartCondition, maximum_retry_count: u32) -> RestartPolicy {
        RestartPolicy { name, maximum_retry_count }
    }

    #[test]
    fn policies_say_who_is_started_again() {
        let again = |policy: &RestartPolicy, restarts, code| {
            Backoff::default().next(policy, restarts, code, Duration::ZERO).is_some()
        };
        assert!(!again(&policy(RestartCondition::No, 0), 0, 1));
        assert!(again(&policy(RestartCondition::Always, 0), 1000, 0));
        assert!(again(&policy(RestartCondition::UnlessStopped, 0), 0, 0));
        let failing = policy(RestartCondition::OnFailure, 2);
        assert!(!again(&failing, 0, 0));
        assert!(again(&failing, 1, 1));
        assert!(!again(&failing, 2, 1));
        assert!(again(&policy(RestartCondition::OnFailure, 0), 1000, 1));
    }

    #[test]
    fn waits_grow_to_a_minute_and_begin_anew_after_a_sound_run() {
        let always = policy(RestartCondition::Always, 0);
        let mut backoff = Backoff::default();
        let mut next = |lasted| backoff.next(&always, 0, 0, lasted).map(|pause| pause.as_millis());
        assert_eq!(next(Duration::ZERO), Some(100));
        assert_eq!(next(Duration::ZERO), Some(200));
        for _ in 0..20 {
            next(Duration::ZERO);
        }
        assert_eq!(next(Duration::ZERO), Some(60_000));
        assert_eq!(next(SOUND), Some(100));
    }
}
