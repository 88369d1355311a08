//! When to try again, and when to give up.

use std::time::{Duration, SystemTime};

use crate::config::Retry;
use crate::error::RegistryError;

/// The attempts made at one thing.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Retry,
    failures: u32,
    /// How often the wrong bytes came.
    spoilt: u32,
}

/// What was spoilt on its way comes right the next time; what comes wrong again is wrong where it is.
const SPOILT_MAX: u32 = 1;

impl Backoff {
    pub(crate) fn new(policy: Retry) -> Self {
        Self { policy, failures: 0, spoilt: 0 }
    }

    /// Counts a failure. Returns after a pause when another attempt is due, and hands `error` back
    /// when none is.
    pub(crate) async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        match self.pause(&error) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }

    /// Forgets the failures: what was tried has moved on since.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn pause(&mut self, error: &RegistryError) -> Option<Duration> {
        self.failures += 1;
        self.spoilt += u32::from(error.is_about_content());
        let may_pass = error.is_transient() || error.is_about_content();
        if !may_pass || self.spoilt > SPOILT_MAX || self.failures >= self.policy.attempts {
            return None;
        }
        if let Some(asked) = error.retry_after() {
            return (asked <= self.policy.longest).then_some(asked);
        }
        let doubled = self.policy.pause * 2_u32.saturating_pow(self.failures - 1);
        Some(jitter(doubled.min(self.policy.longest)))
    }
}

/// Between three quarters and all of `pause`, so that clients that failed together do not come
/// back together.
fn jitter(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let share = now.subsec_nanos() % 1000;
    pause * (3000 + share) / 4000
}

#[cfg(test)]
mod tests {
    use reqwest::{Method, StatusCode};

    use super::*;
    use crate::error::{ErrorList, Refusal};

    fn answer(status: u16, retry_after: Option<u64>) -> RegistryError {
        RegistryError::Status(Box::new(Refusal {
            registry: "r.example".into(),
            method: Method::GET,
            url: "https://r.example/v2/".into(),
            status: StatusCode::from_u16(status).unwrap_or_default(),
            errors: ErrorList::default(),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn pauses_double_and_end() {
        let policy = Retry {
            attempts: 5,
            pause: Duration::from_millis(100),
            longest: Duration::from_millis(300),
        };
        let mut backoff = Backoff::new(policy);
        for full in [100, 200, 300, 300] {
            let pause = backoff.pause(&answer(503, None)).unwrap_or_default().as_millis();
            assert!((full * 3 / 4..=full).contains(&pause), "{pause} of {full}");
        }
        assert_eq!(backoff.pause(&answer(503, None)), None);
        backoff.reset();
        assert!(backoff.pause(&answer(503, None)).is_some());
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let pause = |error| Backoff::new(Retry::default()).pause(&error);
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(pause(answer(status, None)).is_some(), "{status}");
        }
        for status in [400, 404, 405, 416, 501] {
            assert_eq!(pause(answer(status, None)), None, "{status}");
        }
        assert_eq!(pause(answer(429, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(answer(429, Some(3600))), None, "an hour is not waited for");
    }
}
