//! Comma-separated options: `type=cache,target="/a,b",ro`.
//!
//! One record of RFC 4180: a field may stand in double quotes, and then hold commas, and quotes
//! written twice.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::char;
use nom::combinator::{map, value};
use nom::multi::{fold_many0, separated_list1};
use nom::sequence::delimited;
use nom::{IResult, Offset, Parser};

use crate::span::Span;

/// One field, and where it stands in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Field {
    /// The key, and the value if there is a `=`.
    pub(crate) fn pair(&self) -> (&str, Option<&str>) {
        match self.text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (&self.text, None),
        }
    }
}

/// Splits `record` into fields. The error is the place of a quote that is out of place.
pub(crate) fn fields(record: &str) -> Result<Vec<Field>, Span> {
    let mut separated = separated_list1(char(','), |input| field(record, input));
    match separated.parse(record) {
        Ok(("", fields)) => Ok(fields),
        Ok((rest, _)) => Err(Span::new(record.offset(rest), record.len())),
        Err(_) => Err(Span::new(0, record.len())),
    }
}

fn field<'a>(record: &str, input: &'a str) -> IResult<&'a str, Field> {
    let (rest, text) = alt((quoted, bare)).parse(input)?;
    let span = Span::new(record.offset(input), record.offset(rest));
    Ok((rest, Field { text, span }))
}

fn bare(input: &str) -> IResult<&str, String> {
    let text = take_while(|c| c != ',' && c != '"');
    map(text, str::to_owned).parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let piece = alt((take_while1(|c| c != '"'), value("\"", tag("\"\""))));
    let inside = fold_many0(piece, String::new, |text, piece| text + piece);
    delimited(char('"'), inside, char('"')).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(record: &str) -> Result<Vec<String>, Span> {
        fields(record).map(|fields| fields.into_iter().map(|field| field.text).collect())
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(texts("a,b=c"), Ok(vec!["a".into(), "b=c".into()]));
        assert_eq!(texts("\"a,b\",c"), Ok(vec!["a,b".into(), "c".into()]));
        assert_eq!(texts("\"a\"\"b\""), Ok(vec!["a\"b".into()]));
        assert_eq!(texts(""), Ok(vec![String::new()]));
        assert_eq!(texts("a,,"), Ok(vec!["a".into(), String::new(), String::new()]));
    }

    #[test]
    fn stray_quotes_are_errors() {
        assert_eq!(texts("a\"b"), Err(Span::new(1, 3)));
        assert!(texts("\"a").is_err());
        assert!(texts("\"a\"b").is_err());
    }

    #[test]
    fn fields_know_their_place() {
        let spans = fields("ab,\"c\"").map(|f| f.iter().map(|f| f.span).collect::<Vec<_>>());
        assert_eq!(spans, Ok(vec![Span::new(0, 2), Span::new(3, 6)]));
    }
}
