//! The grammar of words: quotes, escapes and `${...}`, as nom parsers over the text of one word.

use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{opt, recognize};
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Offset, Parser};

use super::error::{ExpandError, ExpandErrorKind};
use super::template::{Modifier, Part, Template, Variable};
use crate::span::Span;

/// How deep substitutions may lie in one another: far beyond any use, far below the stack's end.
const MAX_DEPTH: usize = 64;

/// Parses a word.
pub(super) fn parse(word: &str, escape: char) -> Result<Template, ExpandError> {
    Grammar { whole: word, escape, quotes: true }.template()
}

/// Parses a text in which quotes are ordinary characters.
pub(super) fn parse_unquoted(text: &str) -> Result<Template, ExpandError> {
    Grammar { whole: text, escape: '\\', quotes: false }.template()
}

/// A parse failure: either nom's ordinary "not this alternative", or an error of ours.
#[derive(Debug)]
enum Fault {
    NoMatch,
    Error(ExpandError),
}

impl ParseError<&str> for Fault {
    fn from_error_kind(_: &str, _: ErrorKind) -> Self {
        Self::NoMatch
    }

    fn append(_: &str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Step<'a, T> = IResult<&'a str, T, Fault>;

/// Where a run of text is, which decides what ends it and what happens to its escapes.
#[derive(Clone, Copy)]
struct Context {
    /// The character that ends the text; none at the top, where the end of input does.
    stop: Option<char>,
    /// Keep escape characters, because the text is a pattern that will interpret them itself.
    keep_escapes: bool,
    depth: usize,
}

#[derive(Clone, Copy)]
struct Grammar<'a> {
    whole: &'a str,
    escape: char,
    quotes: bool,
}

impl<'a> Grammar<'a> {
    fn template(self) -> Result<Template, ExpandError> {
        let top = Context { stop: None, keep_escapes: false, depth: 0 };
        match self.text(self.whole, top) {
            Ok((_, template)) => Ok(template),
            Err(nom::Err::Failure(Fault::Error(error)) | nom::Err::Error(Fault::Error(error))) => {
                Err(error)
            }
            // Unreachable: `text` accepts every input or says why not.
            Err(_) => Err(ExpandErrorKind::BadSubstitution.at(Span::new(0, self.whole.len()))),
        }
    }

    fn offset(self, rest: &str) -> usize {
        self.whole.offset(rest)
    }

    fn fail<T>(self, kind: ExpandErrorKind, from: &str, to: &str) -> Step<'a, T> {
        let span = Span::new(self.offset(from), self.offset(to));
        Err(nom::Err::Failure(Fault::Error(kind.at(span))))
    }

    /// Text up to the stop character, which is consumed.
    fn text(self, input: &'a str, context: Context) -> Step<'a, Template> {
        let mut parts = Parts::default();
        let mut rest = input;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = if Some(c) == context.stop {
                return Ok((after, parts.finish()));
            } else if c == '$' {
                let (rest, part) = self.dollar(rest, false, context)?;
                parts.push(part);
                rest
            } else if c == '\'' && self.quotes {
                self.single_quoted(rest, &mut parts)?.0
            } else if c == '"' && self.quotes {
                self.double_quoted(rest, &mut parts, context)?.0
            } else if c == self.escape {
                if context.keep_escapes {
                    parts.quoted(c);
                }
                // At the very end there is nothing left to escape.
                let (rest, escaped) = opt(anychar).parse(after)?;
                if let Some(c) = escaped {
                    parts.quoted(c);
                }
                rest
            } else {
                parts.bare(c);
                after
            };
        }
        match context.stop {
            None => Ok((rest, parts.finish())),
            Some('/') => self.fail(ExpandErrorKind::MissingSlash, input, rest),
            Some(_) => self.fail(ExpandErrorKind::UnclosedBrace, input, rest),
        }
    }

    /// `'...'`: everything is literal.
    fn single_quoted(self, input: &'a str, parts: &mut Parts) -> Step<'a, ()> {
        let (rest, _) = char('\'').parse(input)?;
        let (rest, text) = take_while(|c| c != '\'').parse(rest)?;
        let Some(rest) = rest.strip_prefix('\'') else {
            return self.fail(ExpandErrorKind::UnclosedQuote('\''), input, rest);
        };
        parts.quoted_str(text);
        Ok((rest, ()))
    }

    /// `"..."`: variables, and escapes before what would otherwise be special.
    fn double_quoted(self, input: &'a str, parts: &mut Parts, context: Context) -> Step<'a, ()> {
        let (mut rest, _) = char('"').parse(input)?;
        parts.quoted_str("");
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = if c == '"' {
                return Ok((after, ()));
            } else if c == '$' {
                let (rest, part) = self.dollar(rest, true, context)?;
                parts.push(part);
                rest
            } else if c == self.escape {
                // Elsewhere the escape is an ordinary character; a pattern must be told so.
                let special = |c| c == '"' || c == '$' || c == self.escape;
                let (rest, escaped) = opt(satisfy(special)).parse(after)?;
                if context.keep_escapes {
                    parts.quoted(c);
                }
                parts.quoted(escaped.unwrap_or(c));
                rest
            } else {
                parts.quoted(c);
                after
            };
        }
        self.fail(ExpandErrorKind::UnclosedQuote('"'), input, rest)
    }

    /// `$name`, `${...}`, or a dollar sign that means nothing.
    fn dollar(self, input: &'a str, quoted: bool, context: Context) -> Step<'a, Part> {
        let (rest, _) = char('$').parse(input)?;
        if rest.starts_with('{') {
            return self.braced(input, quoted, context);
        }
        let (rest, name) = opt(name).parse(rest)?;
        Ok((
            rest,
            match name {
                Some(name) => self.variable(input, rest, name, Modifier::None, quoted),
                None => Part::Quoted("$".to_owned()),
            },
        ))
    }

    /// `${name}` or `${name<modifier>...}`.
    fn braced(self, input: &'a str, quoted: bool, context: Context) -> Step<'a, Part> {
        let (rest, _) = tag("${").parse(input)?;
        match rest.chars().next() {
            None => return self.fail(ExpandErrorKind::UnclosedBrace, input, rest),
            Some('{' | '}' | ':') => {
                return self.fail(ExpandErrorKind::BadSubstitution, input, &rest[1..]);
            }
            Some(_) => {}
        }
        let (rest, found) = opt(name).parse(rest)?;
        let (rest, modifier) = self.modifier(input, rest, context)?;
        // A name may be missing only where the modifier already failed, as in `${.}`.
        Ok((rest, self.variable(input, rest, found.unwrap_or_default(), modifier, quoted)))
    }

    /// What follows the name, up to and including the closing brace.
    fn modifier(self, start: &'a str, input: &'a str, context: Context) -> Step<'a, Modifier> {
        let depth = context.depth + 1;
        let (rest, colon) = opt(char(':')).parse(input)?;
        let or_empty = colon.is_some();
        let (rest, operator) = opt(anychar).parse(rest)?;
        let Some(operator) = operator else {
            return self.fail(ExpandErrorKind::UnclosedBrace, start, rest);
        };
        if operator != '}' && depth > MAX_DEPTH {
            return self.fail(ExpandErrorKind::TooDeep(MAX_DEPTH), start, rest);
        }
        let word = |rest, stop, keep_escapes| {
            self.text(rest, Context { stop: Some(stop), keep_escapes, depth })
        };
        match (operator, or_empty) {
            ('}', false) => Ok((rest, Modifier::None)),
            ('-', _) => {
                let (rest, word) = word(rest, '}', false)?;
                Ok((rest, Modifier::Default { word, or_empty }))
            }
            ('+', _) => {
                let (rest, word) = word(rest, '}', false)?;
                Ok((rest, Modifier::Alternate { word, or_empty }))
            }
            ('?', _) => {
                let (rest, message) = word(rest, '}', false)?;
                Ok((rest, Modifier::Required { message, or_empty }))
            }
            ('#', false) => {
                let (rest, double) = opt(char('#')).parse(rest)?;
                let (rest, pattern) = word(rest, '}', true)?;
                Ok((rest, Modifier::TrimPrefix { pattern, longest: double.is_some() }))
            }
            ('%', false) => {
                let (rest, double) = opt(char('%')).parse(rest)?;
                let (rest, pattern) = word(rest, '}', true)?;
                Ok((rest, Modifier::TrimSuffix { pattern, longest: double.is_some() }))
            }
            ('/', false) => {
                let (rest, double) = opt(char('/')).parse(rest)?;
                let (rest, pattern) = word(rest, '/', true)?;
                let (rest, with) = word(rest, '}', true)?;
                Ok((rest, Modifier::Replace { pattern, with, all: double.is_some() }))
            }
            // More likely the brace is missing than that somebody made up such a modifier.
            ('"' | '\'' | ' ' | '\t', false) => {
                self.fail(ExpandErrorKind::UnclosedBrace, start, rest)
            }
            _ => {
                let written = &input[..input.offset(rest)];
                self.fail(ExpandErrorKind::UnsupportedModifier(written.to_owned()), input, rest)
            }
        }
    }

    fn variable(
        self,
        input: &str,
        rest: &str,
        name: &str,
        modifier: Modifier,
        quoted: bool,
    ) -> Part {
        let span = Span::new(self.offset(input), self.offset(rest));
        Part::Variable { variable: Variable { name: name.to_owned(), span, modifier }, quoted }
    }
}

/// A name: a number, one of the shell's special parameters, or letters, digits and `_`.
fn name(input: &str) -> Step<'_, &str> {
    let first = input.chars().next();
    if first.is_some_and(|c| c.is_ascii_digit()) {
        take_while1(|c: char| c.is_ascii_digit()).parse(input)
    } else if first.is_some_and(|c| "@*#?-$!".contains(c)) {
        recognize(anychar).parse(input)
    } else {
        take_while1(|c: char| c.is_alphanumeric() || c == '_').parse(input)
    }
}

/// Builds the parts of a template, joining neighbours of one kind.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn bare(&mut self, c: char) {
        if let Some(Part::Bare(text)) = self.0.last_mut() {
            text.push(c);
        } else {
            self.0.push(Part::Bare(c.to_string()));
        }
    }

    fn quoted(&mut self, c: char) {
        self.quoted_str(c.encode_utf8(&mut [0; 4]));
    }

    fn quoted_str(&mut self, added: &str) {
        if let Some(Part::Quoted(text)) = self.0.last_mut() {
            text.push_str(added);
        } else {
            self.0.push(Part::Quoted(added.to_owned()));
        }
    }

    fn push(&mut self, part: Part) {
        self.0.push(part);
    }

    fn finish(mut self) -> Template {
        self.0.retain(|part| !matches!(part, Part::Quoted(text) if text.is_empty()));
        Template { parts: self.0 }
    }
}
