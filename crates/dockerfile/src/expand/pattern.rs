//! The shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and literal text.
//!
//! Matching walks the value once with the set of pattern positions that are still possible, so the
//! time is bounded by value length times pattern length, whatever the pattern.

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// `*`: any text without a line break.
    Star,
    /// `?`: any one character but a line break.
    Any,
    Char(char),
}

impl Pattern {
    /// Parses `text`; the error is the invalid escape.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match chars.next() {
                    // `}` and `/` would end the operand, so they may be escaped although they
                    // mean nothing in a pattern.
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                    Some(c) => return Err(format!("\\{c}")),
                    None => return Err("\\".to_owned()),
                },
                c => Token::Char(c),
            });
        }
        Ok(Self(tokens))
    }

    /// `value` without its shortest or longest matching prefix.
    pub(super) fn trim_prefix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let length = match_length(&self.0, value.chars(), longest).unwrap_or(0);
        &value[length..]
    }

    /// `value` without its shortest or longest matching suffix.
    pub(super) fn trim_suffix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let length = match_length(&reversed, value.chars().rev(), longest).unwrap_or(0);
        &value[..value.len() - length]
    }

    /// `value` with the first or every match replaced; of the matches that begin at one place the
    /// longest counts.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool) -> String {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        let mut after_match = false; // an empty match right behind another one doesn't count
        loop {
            match match_length(&self.0, rest.chars(), true) {
                Some(length) if length > 0 || !after_match => {
                    out.push_str(with);
                    rest = &rest[length..];
                    after_match = length > 0;
                    if !all {
                        break;
                    }
                    if after_match {
                        continue;
                    }
                }
                _ => {}
            }
            let Some(c) = rest.chars().next() else { break };
            out.push(c);
            rest = &rest[c.len_utf8()..];
            after_match = false;
        }
        out.push_str(rest);
        out
    }
}

/// Bytes of the shortest or longest run of `chars` from the start that matches all of `tokens`.
fn match_length(
    tokens: &[Token],
    chars: impl Iterator<Item = char>,
    longest: bool,
) -> Option<usize> {
    let end = tokens.len();
    let mut here = vec![false; end + 1];
    here[0] = true;
    skip_stars(tokens, &mut here);
    let mut length = 0;
    let mut best = here[end].then_some(0);
    let mut chars = chars;
    while longest || best.is_none() {
        let Some(c) = chars.next() else { break };
        let mut next = vec![false; end + 1];
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| here[*at]) {
            match token {
                Token::Star if c != '\n' => next[at] = true,
                Token::Any if c != '\n' => next[at + 1] = true,
                Token::Char(wanted) if *wanted == c => next[at + 1] = true,
                _ => {}
            }
        }
        skip_stars(tokens, &mut next);
        here = next;
        length += c.len_utf8();
        if here[end] {
            best = Some(length);
        } else if !here.contains(&true) {
            break;
        }
    }
    best
}

/// A star may match nothing: wherever one is reached, so is the token behind it.
fn skip_stars(tokens: &[Token], here: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if here[at] && *token == Token::Star {
            here[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|escape| panic!("bad escape {escape} in {text}"))
    }

    #[test]
    fn prefixes_are_shortest_or_longest() {
        assert_eq!(pattern("f*b").trim_prefix("foobarbaz", false), "arbaz");
        assert_eq!(pattern("f*b").trim_prefix("foobarbaz", true), "az");
        assert_eq!(pattern("*").trim_prefix("x", false), "x");
        assert_eq!(pattern("x").trim_prefix("foobarbaz", true), "foobarbaz");
        assert_eq!(pattern("").trim_prefix("x", true), "x");
    }

    #[test]
    fn suffixes_are_shortest_or_longest() {
        assert_eq!(pattern("b*").trim_suffix("foobarbaz", false), "foobar");
        assert_eq!(pattern("b*").trim_suffix("foobarbaz", true), "foo");
        assert_eq!(pattern("\\**\\*").trim_suffix("a***yy*", true), "a");
        assert_eq!(pattern("é?").trim_suffix("caféx", false), "caf");
    }

    #[test]
    fn replacing_prefers_the_leftmost_longest_match() {
        assert_eq!(pattern("/?/").replace("/a/foo/b/c.txt", "/", true), "/foo/c.txt");
        assert_eq!(pattern("").replace("xy", "ww", false), "wwxy");
        assert_eq!(pattern("").replace("xy", "-", true), "-x-y-");
        assert_eq!(pattern("*").replace("xy", "-", true), "-");
        assert_eq!(pattern("b").replace("abab", "", true), "aa");
    }

    #[test]
    fn wildcards_stop_at_line_breaks() {
        assert_eq!(pattern("*").trim_prefix("a\nb", true), "\nb");
        assert_eq!(pattern("a?").trim_prefix("a\nb", true), "a\nb");
    }

    #[test]
    fn only_what_needs_an_escape_may_have_one() {
        assert_eq!(Pattern::parse("\\x"), Err("\\x".into()));
        assert_eq!(Pattern::parse("a\\"), Err("\\".into()));
        assert!(Pattern::parse("\\*\\?\\\\\\/\\}").is_ok());
    }

    #[test]
    fn hostile_patterns_stay_quick() {
        let value = "a".repeat(2_000);
        let stars = "*a".repeat(200) + "b";
        assert_eq!(pattern(&stars).trim_prefix(&value, true), value);
    }
}
