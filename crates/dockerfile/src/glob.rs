//! Path patterns: the one parser and matcher behind `COPY` wildcards and `.dockerignore`.
//!
//! The syntax is that of Go's `path/filepath.Match`: `*` and `?` never match a slash, `[a-z]` and
//! `[^a-z]` match one character, a backslash makes the next character literal. Ignore files add
//! `**`, see [`crate::ignore`].
//!
//! Matching follows all possible positions in the pattern at once, so its time is bounded by the
//! length of the name times the number of wildcards: no pattern can make it hang.

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// Exactly this character.
    Char(char),
    /// `?`: one character, not a slash.
    Any,
    /// `[...]`: one character.
    Class(Class),
    /// `*`: any text without a slash.
    Star,
    /// `**` at the end: any text.
    Rest,
    /// `**/`: nothing, or any text that ends in a slash. Always followed by `Inside`.
    Dirs,
    /// The middle of what `Dirs` matches.
    Inside,
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// A pattern that doesn't follow the syntax: an unclosed class, a lone `-`, a final backslash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern `{pattern}`")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
}

/// Whether `name` matches `pattern` as a whole, by the rules of Go's `filepath.Match`.
///
/// To match many names against one pattern, make a [`Glob`] of it.
pub fn glob_match(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(Glob::new(pattern)?.matches(name))
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Tokens);

impl Glob {
    /// Parses `pattern`.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        Ok(Self(Tokens::new(parse(pattern, false)?)))
    }

    /// Whether `name` matches as a whole.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }

    /// Whether `text` holds any of the characters that mean something in a pattern.
    pub fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?', '[', '\\'])
    }
}

/// Splits `pattern` into tokens; with `deep`, `**` spans directories.
pub(crate) fn parse(pattern: &str, deep: bool) -> Result<Vec<Token>, BadPattern> {
    tokens(pattern, deep).ok_or_else(|| BadPattern { pattern: pattern.to_owned() })
}

fn tokens(pattern: &str, deep: bool) -> Option<Vec<Token>> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' if deep && rest.as_str().starts_with('*') => {
                rest.next();
                if rest.as_str().starts_with('/') {
                    rest.next();
                }
                if rest.as_str().is_empty() {
                    tokens.push(Token::Rest);
                } else {
                    tokens.extend([Token::Dirs, Token::Inside]);
                }
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::Any),
            '[' => tokens.push(Token::Class(class(&mut rest)?)),
            '\\' => tokens.push(Token::Char(rest.next()?)),
            c => tokens.push(Token::Char(c)),
        }
    }
    Some(tokens)
}

/// The inside of `[...]`, up to and including the bracket.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Class> {
    fn one(rest: &mut std::str::Chars<'_>) -> Option<char> {
        match rest.next()? {
            '-' | ']' => None,
            '\\' => rest.next(),
            c => Some(c),
        }
    }
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || !rest.as_str().starts_with(']') {
        let low = one(rest)?;
        let high = if rest.as_str().starts_with('-') {
            rest.next();
            one(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    rest.next();
    Some(Class { negated, ranges })
}

/// Tokens ready to match: literal text at both ends is compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    prefix: String,
    middle: Vec<Token>,
    suffix: String,
}

impl Tokens {
    pub(crate) fn new(mut tokens: Vec<Token>) -> Self {
        let literal = |token: &Token| match token {
            Token::Char(c) => Some(*c),
            _ => None,
        };
        let prefix: String = tokens.iter().map_while(literal).collect();
        tokens.drain(..prefix.chars().count());
        let suffix: Vec<char> = tokens.iter().rev().map_while(literal).collect();
        tokens.truncate(tokens.len() - suffix.len());
        Self { prefix, middle: tokens, suffix: suffix.into_iter().rev().collect() }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.prefix.as_str()) else { return false };
        let Some(rest) = rest.strip_suffix(self.suffix.as_str()) else { return false };
        match self.middle.as_slice() {
            [] => rest.is_empty(),
            [Token::Rest] => true,
            [Token::Star] => !rest.contains('/'),
            tokens => States::start(tokens).run(rest).at_end(),
        }
    }

    /// Whether some name that begins with `start` could match.
    pub(crate) fn may_begin_with(&self, start: &str) -> bool {
        let Some(rest) = start.strip_prefix(self.prefix.as_str()) else {
            return self.prefix.starts_with(start);
        };
        let mut tokens = self.middle.clone();
        tokens.extend(self.suffix.chars().map(Token::Char));
        !States::start(&tokens).run(rest).here.is_empty()
    }
}

/// The set of positions in the pattern that the text read so far can lead to, ascending.
struct States<'t> {
    tokens: &'t [Token],
    here: Vec<usize>,
    next: Vec<usize>,
}

impl<'t> States<'t> {
    fn start(tokens: &'t [Token]) -> Self {
        let mut states = Self { tokens, here: Vec::with_capacity(8), next: vec![0] };
        states.close();
        states
    }

    fn run(mut self, text: &str) -> Self {
        for c in text.chars() {
            for &at in &self.here {
                let (stay, advance) = match self.tokens.get(at) {
                    Some(Token::Char(wanted)) => (false, *wanted == c),
                    Some(Token::Any) => (false, c != '/'),
                    Some(Token::Class(class)) => (false, class.contains(c)),
                    Some(Token::Star) => (c != '/', false),
                    Some(Token::Rest) => (true, false),
                    Some(Token::Inside) => (true, c == '/'),
                    Some(Token::Dirs) | None => (false, false),
                };
                if stay && self.next.last() != Some(&at) {
                    self.next.push(at);
                }
                if advance {
                    self.next.push(at + 1);
                }
            }
            self.close();
            if self.here.is_empty() {
                break;
            }
        }
        self
    }

    fn at_end(&self) -> bool {
        self.here.last() == Some(&self.tokens.len())
    }

    /// Makes `next` current, adding every position that can be reached without reading anything.
    fn close(&mut self) {
        self.here.clear();
        for &at in &self.next {
            let mut at = at;
            loop {
                if self.here.last().is_none_or(|&last| at > last) {
                    self.here.push(at);
                }
                match self.tokens.get(at) {
                    Some(Token::Star | Token::Rest) => at += 1,
                    Some(Token::Dirs) => {
                        if self.here.last() == Some(&at) {
                            self.here.push(at + 1);
                        }
                        at += 2;
                    }
                    _ => break,
                }
            }
        }
        self.next.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_filepath_match() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[b-d]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("a[^a]b", "a\u{263a}b", true),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
            ("a\\*b", "a*b", true),
            ("**", "a/b", false),
            ("", "", true),
            ("[[]x", "[x", true),
        ] {
            assert_eq!(glob_match(pattern, name), Ok(expected), "{pattern} against {name}");
        }
    }

    #[test]
    fn bad_patterns_are_errors() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a["] {
            assert!(glob_match(pattern, "a").is_err(), "{pattern}");
        }
    }

    #[test]
    fn deep_patterns_span_directories() {
        let deep = |pattern: &str, name: &str| {
            Tokens::new(parse(pattern, true).unwrap_or_default()).matches(name)
        };
        assert!(deep("a/**/b", "a/b"));
        assert!(deep("a/**/b", "a/x/y/b"));
        assert!(!deep("a/**/b", "a/xb"));
        assert!(deep("a/**", "a/x/y"));
        assert!(deep("**/*_test.go", "x/y/z_test.go"));
    }

    #[test]
    fn prefixes_can_be_ruled_out() {
        let tokens = |pattern: &str| Tokens::new(parse(pattern, true).unwrap_or_default());
        assert!(tokens("docs/keep.md").may_begin_with("docs/"));
        assert!(!tokens("docs/keep.md").may_begin_with("src/"));
        assert!(!tokens("*/keep.md").may_begin_with("a/b/"));
        assert!(tokens("**/keep.md").may_begin_with("a/b/"));
        assert!(tokens("a?c/x*").may_begin_with("abc/"));
    }

    #[test]
    fn hostile_patterns_stay_quick() {
        let name = "a".repeat(2_000);
        let pattern = "*a".repeat(500) + "b";
        assert_eq!(glob_match(&pattern, &name), Ok(false));
    }
}
