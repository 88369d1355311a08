//! What `inspect` and `build --call` print: the engine's data in the form of docker's API.

pub(crate) mod anatomy;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

/// A set as Go writes it: a map to empty structs.
fn go_set(set: &BTreeSet<String>) -> Value {
    set.iter().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>().into()
}

/// Labels, `{}` when there are none.
fn labels(labels: &BTreeMap<String, String>) -> Value {
    labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>().into()
}

/// RFC 3339 with nanoseconds.
fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A time that may be absent, which docker tells as the year 1.
fn maybe_time(at: Option<SystemTime>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time)
}
