//! Whether a text could be an image reference. Only its shape is judged, as far as the checks
//! need it.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, digit1, satisfy};
use nom::combinator::{all_consuming, opt, recognize, verify};
use nom::multi::{many0_count, many1_count, separated_list1};
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// Whether `text` has the shape `[host/]path[:tag][@algorithm:digest]`.
pub(super) fn is_reference(text: &str) -> bool {
    let (host, rest) = match text.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (Some(first), rest),
        _ => (None, text),
    };
    host.is_none_or(|host| all_consuming(self::host).parse(host).is_ok())
        && all_consuming((path, opt(tagged), opt(digest))).parse(rest).is_ok()
}

fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.contains(char::is_uppercase)
}

fn host(input: &str) -> IResult<&str, &str> {
    let label = verify(take_while1(|c: char| c.is_ascii_alphanumeric() || c == '-'), |l: &str| {
        !l.starts_with('-') && !l.ends_with('-')
    });
    let address = (char('['), take_while1(|c: char| c.is_ascii_hexdigit() || c == ':'), char(']'));
    let name = alt((recognize(address), recognize(separated_list1(char('.'), label))));
    recognize((name, opt(preceded(char(':'), digit1)))).parse(input)
}

fn path(input: &str) -> IResult<&str, &str> {
    let run = || take_while1(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let separator = alt((tag("__"), tag("_"), tag("."), take_while1(|c| c == '-')));
    let component = (run(), many0_count((separator, run())));
    recognize(separated_list1(char('/'), component)).parse(input)
}

fn tagged(input: &str) -> IResult<&str, &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = take_while_m_n(0, 127, move |c: char| word(c) || c == '.' || c == '-');
    recognize((char(':'), satisfy(word), rest)).parse(input)
}

fn digest(input: &str) -> IResult<&str, &str> {
    let algorithm = many1_count(satisfy(|c: char| c.is_ascii_alphanumeric() || "+._-".contains(c)));
    let hex = verify(take_while(|c: char| c.is_ascii_hexdigit()), |hex: &str| hex.len() >= 32);
    recognize((char('@'), algorithm, char(':'), hex)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_a_shape() {
        let digest = "a@sha256:".to_owned() + &"0".repeat(64);
        for good in [
            "busybox",
            "scratch",
            "a/b/c:1.2-x_y",
            "localhost/x",
            "example.invalid:5000/a",
            "[::1]:5000/x",
            "Host/x",
            "a__b/c---d",
            &digest,
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "busybox:", ":tag", "Busybox", "a//b", "a/", "a:b:c", "a b", "a@x", "-a"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
