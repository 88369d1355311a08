//! Times in documents: RFC 3339 with nanoseconds, as docker writes them.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

/// `time` as text.
pub(crate) fn format(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// `#[serde(with = "crate::time")]`
pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*time))
}

/// `#[serde(with = "crate::time")]`
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Timestamp>().map(Into::into).map_err(serde::de::Error::custom)
}

/// `#[serde(with = "crate::time::optional")]`
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Serializer, SystemTime, Timestamp};

    /// Writes a time that may be absent.
    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time that may be absent.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| text.parse::<Timestamp>().map_err(serde::de::Error::custom);
        Ok(text.map(parse).transpose()?.map(Into::into))
    }
}
