//! How things look in documents: names in camelCase, times by RFC 3339, sizes in bytes.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// A time.
pub(crate) fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
