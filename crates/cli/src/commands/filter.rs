//! `--filter key=value`, shared by lists and prunes.

use std::time::{Duration, SystemTime};

use crate::error::Failure;
use crate::output::units;

/// The filters of one command line, in order.
pub(super) struct Filters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Filters<'a> {
    /// Reads the filters, of which only those named `known` are allowed.
    pub(super) fn parse(words: &'a [String], known: &[&str]) -> Result<Self, Failure> {
        let mut filters = Vec::with_capacity(words.len());
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Failure::new(format!("invalid argument {word:?}: invalid filter"))
            })?;
            if !known.contains(&key) {
                return Err(Failure::new(format!("invalid filter '{key}'")));
            }
            filters.push((key, value));
        }
        Ok(Self(filters))
    }

    /// All values of `key`.
    pub(super) fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| (*value).to_owned())
            .collect()
    }

    /// The last value of `key`.
    pub(super) fn last(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The values of `key`, `label` or `label!`, each a key and maybe a value.
    pub(super) fn labels(&self, key: &str) -> Vec<(String, Option<String>)> {
        let split = |label: String| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (label, None),
        };
        self.all(key).into_iter().map(split).collect()
    }

    /// The last value of `key` as a boolean.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.last(key) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(value) => Err(Failure::new(format!("invalid filter '{key}={value}'"))),
        }
    }

    /// The last value of `key` as a time.
    pub(super) fn time(&self, key: &str) -> Result<Option<SystemTime>, Failure> {
        self.last(key).map(time).transpose().map_err(Failure::new)
    }
}

/// Reads a time: RFC 3339, a date, seconds since 1970, or how long ago as in `42m`.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = units::parse_duration(text) {
        return Ok(SystemTime::now() - ago);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let since = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        return Ok(SystemTime::UNIX_EPOCH + since);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let here = |time: jiff::civil::DateTime| time.to_zoned(jiff::tz::TimeZone::system());
    let local = text.parse::<jiff::civil::DateTime>().and_then(here);
    local.map(|time| time.timestamp().into()).map_err(|_| format!("invalid time {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked_and_split() -> Result<(), String> {
        let words = ["label=a=1", "label=b", "dangling=true", "until=0"].map(str::to_owned);
        let known = ["label", "dangling", "until"];
        let filters =
            Filters::parse(&words, &known).map_err(|f| f.text().unwrap_or("").to_owned())?;
        assert_eq!(filters.labels("label"), [("a".into(), Some("1".into())), ("b".into(), None)]);
        assert_eq!(filters.flag("dangling").ok(), Some(Some(true)));
        assert!(Filters::parse(&["nosuch=1".to_owned()], &known).is_err());
        assert!(Filters::parse(&["label".to_owned()], &known).is_err());
        Ok(())
    }

    #[test]
    fn times_come_in_many_forms() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_357_046_617);
        assert_eq!(time("2013-01-01T13:23:37Z"), Ok(at));
        assert_eq!(time("1357046617"), Ok(at));
        assert!(time("10m").is_ok_and(|time| time < SystemTime::now()));
        assert!(time("2013-01-01").is_ok() && time("soon").is_err());
    }
}
