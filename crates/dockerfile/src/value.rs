//! Small values with a syntax of their own: booleans, sizes, durations, ports, signals, sources.
//!
//! They are checked while parsing where no variable is involved, and by the caller after
//! expansion otherwise; both use these functions, so the answers can't differ.

mod duration;
mod mode;
mod port;
mod signal;
mod source;

pub(crate) use duration::format_duration;
pub use duration::{DurationError, parse_duration};
pub use mode::{Mode, ModeError};
pub use port::{PortError, PortRange};
pub use signal::is_signal;
pub(crate) use signal::names as signal_names;
pub use source::{SourceKind, percent_decoded, redacted, redacted_text};

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a size in bytes such as `64m`, `1.5GiB` or `10 kb`; units are powers of 1024 throughout.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        unit => {
            let letter = unit.strip_suffix('i').unwrap_or(unit);
            1 + i32::try_from("kmgtp".find(letter).filter(|_| letter.len() == 1)?).ok()?
        }
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    (bytes < 9.2e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("64m", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("10 kb", Some(10 << 10)),
            ("1KiB", Some(1024)),
            ("2TB", Some(2 << 40)),
            ("1b", Some(1)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1km", None),
            ("-1", None),
            (".5k", None),
            ("1..5k", None),
            ("99999999999999999999p", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn booleans_are_those_of_go() {
        assert_eq!(parse_bool("T"), Some(true));
        assert_eq!(parse_bool("False"), Some(false));
        assert_eq!(parse_bool("yes"), None);
        assert_eq!(parse_bool("tRUE"), None);
    }
}
