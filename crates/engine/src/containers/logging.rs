//! How much of a container's output is kept: the options of docker's log drivers.

use super::model::{HostConfig, LogDriver};
use crate::{EngineError, Result};

/// What the driver `local` keeps where nothing is said; docker's.
const LOCAL: LogBound = LogBound { size: Some(20_000_000), files: 5 };

/// Options of docker's drivers that say how lines are marked or handed on. A log here has no marks, and
/// nobody waits for it.
const WITHOUT_EFFECT: [&str; 8] =
    ["compress", "env", "env-regex", "labels", "labels-regex", "max-buffer-size", "mode", "tag"];

/// How much of a container's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogBound {
    /// Bytes after which another file is begun; none for no bound.
    pub(super) size: Option<u64>,
    /// How many files there are at most.
    pub(super) files: u32,
}

impl Default for LogBound {
    fn default() -> Self {
        Self { size: None, files: 1 }
    }
}

impl LogBound {
    /// By the options of a container.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for unknown options and values that make no sense.
    pub(super) fn of(host: &HostConfig) -> Result<Self> {
        let driver = host.log;
        let invalid = |what: String| Err(EngineError::Invalid { what });
        let mut bound = if driver == LogDriver::Local { LOCAL } else { Self::default() };
        for (name, value) in &host.log_options {
            match name.as_str() {
                _ if driver == LogDriver::None => {
                    return invalid(format!("unknown log opt '{name}' for none log driver"));
                }
                "max-size" if value == "-1" => bound.size = None,
                "max-size" => match size(value) {
                    Some(bytes) => bound.size = Some(bytes),
                    None => {
                        let what = format!(
                            "invalid max-size {value:?}: give a number above 0, with k, m or g"
                        );
                        return invalid(what);
                    }
                },
                "max-file" => match value.parse() {
                    Ok(files @ 1..) => bound.files = files,
                    Ok(0) => return invalid("max-file cannot be less than 1".to_owned()),
                    Err(_) => return invalid(format!("invalid max-file {value:?}: give a number")),
                },
                other if WITHOUT_EFFECT.contains(&other) => {}
                other => {
                    let driver = driver.name();
                    return invalid(format!("unknown log opt '{other}' for {driver} log driver"));
                }
            }
        }
        if bound.files > 1 && bound.size.is_none() {
            return invalid("max-file needs max-size".to_owned());
        }
        Ok(bound)
    }
}

/// Bytes, in the decimal units that docker takes here: `10m` is 10 000 000.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes >= 1.0 && bytes <= u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(log: LogDriver, options: &[(&str, &str)]) -> Option<(Option<u64>, u32)> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let host = HostConfig { log, log_options: options.collect(), ..HostConfig::default() };
        LogBound::of(&host).ok().map(|bound| (bound.size, bound.files))
    }

    #[test]
    fn options_are_read() {
        use LogDriver::{JsonFile, Local, None as Nowhere};
        assert_eq!(bound(JsonFile, &[]), Some((None, 1)));
        assert_eq!(bound(Local, &[]), Some((Some(20_000_000), 5)));
        assert_eq!(bound(JsonFile, &[("max-size", "1.5k")]), Some((Some(1500), 1)));
        let both = [("max-size", "10MB"), ("max-file", "3")];
        assert_eq!(bound(JsonFile, &both), Some((Some(10_000_000), 3)));
        assert_eq!(bound(JsonFile, &[("tag", "x")]), Some((None, 1)));
        for wrong in
            [("max-size", "0"), ("max-size", "x"), ("max-file", "0"), ("max-file", "2"), ("y", "")]
        {
            assert_eq!(bound(JsonFile, &[wrong]), None, "{wrong:?}");
        }
        assert_eq!(bound(Nowhere, &[("max-size", "1m")]), None);
    }
}
