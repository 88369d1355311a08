//! Durations such as `1m30s`, in the syntax of Go's `time.ParseDuration`.

use std::time::Duration;

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit0};
use nom::combinator::{all_consuming, map, opt, value, verify};
use nom::multi::fold_many1;
use nom::{IResult, Parser};

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration `{0}`")]
pub struct DurationError(
    /// The text.
    pub String,
);

/// The largest duration that fits an image config, which counts nanoseconds in 63 bits.
const MAX_NANOSECONDS: u128 = i64::MAX as u128;

/// Reads a duration: numbers with units, largest first by custom but in any order. Negative ones
/// have no meaning in a Dockerfile and are refused.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError(text.to_owned());
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    let add = |sum: u128, part: u128| sum.saturating_add(part);
    let (_, nanoseconds) = all_consuming(fold_many1(part, || 0, add))
        .parse(unsigned)
        .map_err(|_: nom::Err<nom::error::Error<&str>>| error())?;
    if nanoseconds > MAX_NANOSECONDS {
        return Err(error());
    }
    Ok(Duration::from_nanos(nanoseconds as u64))
}

/// The shortest text that [`parse_duration`] reads as `duration`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    let parts = [
        (minutes / 60, "h"),
        (minutes % 60, "m"),
        (seconds, "s"),
        (duration.subsec_nanos().into(), "ns"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text += &count.to_string();
        text += unit;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// One number with its unit, in nanoseconds.
fn part(input: &str) -> IResult<&str, u128> {
    let (rest, whole) = digit0(input)?;
    let (rest, fraction) =
        map(opt((char('.'), digit0)), |f| f.map_or("", |(_, f)| f)).parse(rest)?;
    let (rest, unit) = verify(unit, |_| !(whole.is_empty() && fraction.is_empty())).parse(rest)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u128::MAX) };
    // Digits beyond the nanosecond are dropped, so no more than 18 can count.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(fraction.len() as u32);
    let part = fraction.parse::<u128>().unwrap_or(0) * unit / scale;
    Ok((rest, whole.saturating_mul(unit).saturating_add(part)))
}

fn unit(input: &str) -> IResult<&str, u128> {
    alt((
        value(1, tag("ns")),
        value(1_000, alt((tag("us"), tag("\u{b5}s"), tag("\u{3bc}s")))),
        value(1_000_000, tag("ms")),
        value(1_000_000_000, tag("s")),
        value(60_000_000_000, tag("m")),
        value(3_600_000_000_000, tag("h")),
    ))
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("0", Some(0)),
            ("5s", Some(5_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            (".5s", Some(500)),
            ("1.s", Some(1_000)),
            ("+2ms", Some(2)),
            ("1500us", Some(1)),
            ("1h0.25s", Some(3_600_250)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("-1s", None),
            ("1 s", None),
            ("3x", None),
            ("9999999999999999999999999999999999999999h", None),
        ] {
            let parsed = parse_duration(text).ok().map(|d| d.as_millis());
            assert_eq!(parsed, milliseconds, "{text}");
        }
        assert_eq!(parse_duration("50ns"), Ok(Duration::from_nanos(50)));
    }

    #[test]
    fn durations_are_printed_short() {
        for text in ["0s", "5s", "1m30s", "1h", "50ns", "2h1ns", "9h59m59s999999999ns"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Ok(text));
        }
    }
}
