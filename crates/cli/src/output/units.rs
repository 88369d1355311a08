//! Sizes and times in the words docker uses, and back.

use std::time::Duration;

/// A size in decimal units with `digits` significant digits, e.g. `1.24MB`.
pub(crate) fn size(bytes: u64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// A size in binary units with four significant digits, e.g. `1.5MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.*g`: `digits` significant digits, no trailing zeros, an exponent only when needed.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let strip = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < digits => strip(&format!("{value:.*}", digits - 1 - exponent)),
        Ok(exponent) => format!("{}e+{exponent:02}", strip(mantissa)),
        Err(_) => strip(&format!("{value:.digits$}")),
    }
}

/// A span of time as people say it, e.g. `About an hour`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut, as docker does it.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Reads a size such as `512`, `64m`, `1.5GB` or `2gib`; units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let power = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    Ok((number * 1024f64.powi(power)) as u64)
}

/// Reads a Go duration such as `1h30m`, `1.5s` or `100ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(invalid()),
            };
        rest = tail;
    }
    if text.is_empty() {
        Err(invalid())
    } else {
        Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_prints_them() {
        for (bytes, digits, text) in [
            (0, 3, "0B"),
            (5, 3, "5B"),
            (1000, 3, "1kB"),
            (1_237_000, 3, "1.24MB"),
            (77_800_000, 3, "77.8MB"),
            (142_300_000, 3, "142MB"),
            (999_900, 3, "1e+03kB"),
            (1_234_567_890, 4, "1.235GB"),
        ] {
            assert_eq!(size(bytes, digits), text);
        }
        assert_eq!(binary_size(3 * 512 * 1024), "1.5MiB");
        assert_eq!(significant(0.25, 3), "0.25");
    }

    #[test]
    fn durations_read_as_docker_prints_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (3600 * 30, "30 hours"),
            (3600 * 50, "2 days"),
            (3600 * 24 * 20, "2 weeks"),
            (3600 * 24 * 70, "2 months"),
            (3600 * 24 * 800, "2 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_and_durations_are_understood() {
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("1.5GB"), Ok(3 << 29));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("lots"), Err("invalid size: 'lots'".to_owned()));
        assert_eq!(parse_duration("1h1m1.5s"), Ok(Duration::from_millis(3_661_500)));
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert!(parse_duration("").is_err() && parse_duration("5").is_err());
    }
}
