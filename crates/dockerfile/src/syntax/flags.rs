//! `--name=value` between the instruction word and its operands.

use nom::bytes::complete::{tag, take_while};
use nom::combinator::peek;
use nom::{IResult, Parser};

use super::lines::Joined;
use crate::span::{Span, Spanned};

/// A flag, unquoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name with its dashes.
    pub name: Spanned<String>,
    /// What follows the `=`; none when there is no `=`.
    pub value: Option<Spanned<String>>,
}

impl Flag {
    /// The place of the whole flag.
    pub fn span(&self) -> Span {
        self.value.as_ref().map_or(self.name.span, |value| self.name.span.to(value.span))
    }
}

impl std::fmt::Display for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name.value)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={}", value.value))
    }
}

/// Takes the flags off the front of `input`, a slice of the line: the flags, the rest, and whether
/// the quotes of the last flag, which then reaches to the end of the line, are closed.
///
/// They end at the first word that doesn't begin with two dashes, or behind a lone `--`.
pub(super) fn split<'a>(
    input: &'a str,
    joined: &Joined<'_>,
    escape: char,
) -> (Vec<Flag>, &'a str, bool) {
    let mut flags = Vec::new();
    let mut rest = input;
    let mut closed = true;
    while let Ok((word, _)) = start(rest) {
        let flag;
        (flag, rest, closed) = self::flag(word, joined, escape);
        if flag.value.is_none() && flag.name.value == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest, closed)
}

/// Skips blanks if two dashes follow.
fn start(input: &str) -> IResult<&str, &str> {
    let (rest, _) = take_while(char::is_whitespace).parse(input)?;
    peek(tag("--")).parse(rest)
}

/// One flag: quotes group, and the escape character takes the next one literally, in quotes too.
fn flag<'a>(input: &'a str, joined: &Joined<'_>, escape: char) -> (Flag, &'a str, bool) {
    let mut text = String::new();
    let mut quote = None;
    let mut equals: Option<(usize, &str)> = None; // offset in the text, and the input behind it
    let mut rest = input;
    while let Some(c) = rest.chars().next() {
        if quote.is_none() && c.is_whitespace() {
            break;
        }
        let after = &rest[c.len_utf8()..];
        rest = match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                after
            }
            (Some(open), c) if c == open => {
                quote = None;
                after
            }
            (_, c) if c == escape => {
                let mut literal = after.chars();
                text.extend(literal.next());
                literal.as_str()
            }
            (_, c) => {
                if c == '=' && equals.is_none() {
                    equals = Some((text.len(), after));
                }
                text.push(c);
                after
            }
        };
    }
    let written = &input[..input.len() - rest.len()];
    let flag = match equals {
        Some((at, behind)) => {
            let name = &input[..input.len() - behind.len() - 1];
            let value = &behind[..behind.len() - rest.len()];
            Flag {
                name: Spanned::new(text[..at].to_owned(), joined.place(name)),
                value: Some(Spanned::new(text[at + 1..].to_owned(), joined.place(value))),
            }
        }
        None => Flag { name: Spanned::new(text, joined.place(written)), value: None },
    };
    (flag, rest, quote.is_none())
}
