//! Text into tokens: literal text outside of `{{ }}`, words and signs within.

use super::TemplateError;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.` alone.
    Dot,
    /// `.Name`; whether blanks came before it, which ends the operand before.
    Field(String, bool),
    /// `$` or `$name`.
    Variable(String),
    /// A keyword or a function.
    Word(String),
    /// A quoted string.
    Quoted(String),
    /// An integer, also a character in single quotes.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `|`, `(`, `)`, `,`
    Sign(char),
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Splits `text` into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(at) = rest.find("{{") {
        let (mut literal, action) = (&rest[..at], &rest[at + 2..]);
        if trim {
            literal = literal.trim_start();
        }
        let body = match action.strip_prefix('-').filter(|a| a.starts_with(char::is_whitespace)) {
            Some(action) => {
                literal = literal.trim_end();
                action
            }
            None => action,
        };
        if !literal.is_empty() {
            tokens.push(Token::Text(literal.to_owned()));
        }
        let inner = body.trim_start();
        if let Some(comment) = inner.strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or_else(|| error("unclosed comment"))?;
            (rest, trim) = close(after.trim_start_matches(' '), after)
                .ok_or_else(|| error("comment ends before closing delimiter"))?;
            continue;
        }
        tokens.push(Token::Open);
        (rest, trim) = action_tokens(body, &mut tokens)?;
        tokens.push(Token::Close);
    }
    if trim {
        rest = rest.trim_start();
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(rest.to_owned()));
    }
    Ok(tokens)
}

fn error(text: &str) -> TemplateError {
    TemplateError(text.to_owned())
}

/// The text behind the closing `}}` or ` -}}`, and whether blanks after it are dropped.
/// `with_blanks` is the same text with the blanks before it, which `-}}` demands.
fn close<'a>(text: &'a str, with_blanks: &'a str) -> Option<(&'a str, bool)> {
    if let Some(rest) = text.strip_prefix("}}") {
        return Some((rest, false));
    }
    let rest = text.strip_prefix("-}}")?;
    (with_blanks.len() > text.len()).then_some((rest, true))
}

fn action_tokens<'a>(
    body: &'a str,
    tokens: &mut Vec<Token>,
) -> Result<(&'a str, bool), TemplateError> {
    let mut rest = body;
    loop {
        let with_blanks = rest;
        rest = rest.trim_start();
        let blanks = rest.len() < with_blanks.len();
        if let Some(end) = close(rest, with_blanks) {
            return Ok(end);
        }
        let Some(first) = rest.chars().next() else { return Err(error("unclosed action")) };
        let (token, len) = match first {
            '"' => quoted(rest)?,
            '`' => {
                let end =
                    rest[1..].find('`').ok_or_else(|| error("unterminated raw quoted string"))?;
                (Token::Quoted(rest[1..=end].to_owned()), end + 2)
            }
            '\'' => character(rest)?,
            '|' | '(' | ')' | ',' => (Token::Sign(first), 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '$' => {
                let len = 1 + name_len(&rest[1..]);
                (Token::Variable(rest[..len].to_owned()), len)
            }
            '.' => match name_len(&rest[1..]) {
                0 => (Token::Dot, 1),
                len => (Token::Field(rest[1..=len].to_owned(), blanks), len + 1),
            },
            '0'..='9' | '-' | '+' => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let len = name_len(rest);
                (Token::Word(rest[..len].to_owned()), len)
            }
            c => return Err(TemplateError(format!("unexpected {c:?} in operand"))),
        };
        tokens.push(token);
        rest = &rest[len..];
    }
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn quoted(text: &str) -> Result<(Token, usize), TemplateError> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Quoted(value), at + 1)),
            '\n' => break,
            '\\' => value.push(escape(chars.next().map(|(_, c)| c))?),
            c => value.push(c),
        }
    }
    Err(error("unterminated quoted string"))
}

fn character(text: &str) -> Result<(Token, usize), TemplateError> {
    let unterminated = || error("unterminated character constant");
    let mut chars = text.char_indices().skip(1);
    let value = match chars.next().ok_or_else(unterminated)?.1 {
        '\\' => escape(chars.next().map(|(_, c)| c))?,
        c => c,
    };
    match chars.next() {
        Some((at, '\'')) => Ok((Token::Int(i64::from(u32::from(value))), at + 1)),
        _ => Err(unterminated()),
    }
}

fn escape(c: Option<char>) -> Result<char, TemplateError> {
    match c {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some(c @ ('\\' | '"' | '\'')) => Ok(c),
        _ => Err(error("invalid escape in quoted string")),
    }
}

fn number(text: &str) -> Result<(Token, usize), TemplateError> {
    let len = 1 + text[1..]
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
        .unwrap_or(text.len() - 1);
    let digits = text[..len].replace('_', "");
    let int = digits.parse().map(Token::Int);
    let token = int
        .or_else(|_| digits.parse().map(Token::Float))
        .map_err(|_| TemplateError(format!("bad number syntax: {:?}", &text[..len])))?;
    Ok((token, len))
}
