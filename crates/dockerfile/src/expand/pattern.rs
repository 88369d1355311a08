//! The shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and literal text.
//!
//! Matching walks the value once with the set of pattern positions that are still possible, so the
//! time is bounded by value length times pattern length, whatever the pattern. So is replacing: a
//! walk from the end tells first where matches begin, and a match that is found ends so late that
//! what was looked at behind it holds no other.

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
    /// longest counts. Ends early when the result is longer than `limit`.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool, limit: usize) -> String {
        let begins = self.begins(value);
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        let mut after_match = false; // an empty match right behind another one doesn't count
        while out.len() <= limit {
            let here = begins[value.len() - rest.len()];
            match here.then(|| match_length(&self.0, rest.chars(), true)).flatten() {
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

    /// Whether a match begins at each byte of `value`, its end included.
    fn begins(&self, value: &str) -> Vec<bool> {
        let end = self.0.len();
        let mut begins = vec![false; value.len() + 1];
        // Whether the tokens from each one on match the text from here on, as far as they reach.
        let mut matching = vec![false; end + 1];
        matching[end] = true;
        let chars = value.char_indices().map(|(at, c)| (at, Some(c)));
        for (at, c) in chars.chain([(value.len(), None)]).rev() {
            let mut behind = true; // what the next token did one character further on
            for (token, kind) in self.0.iter().enumerate().rev() {
                let further = matching[token];
                matching[token] = match kind {
                    Token::Star => matching[token + 1] || further && c.is_some_and(|c| c != '\n'),
                    Token::Any => behind && c.is_some_and(|c| c != '\n'),
                    Token::Char(wanted) => behind && c == Some(*wanted),
                };
                behind = further;
            }
            begins[at] = matching[0];
        }
        begins
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
        assert_eq!(pattern("/?/").replace("/a/foo/b/c.txt", "/", true, 99_999), "/foo/c.txt");
        assert_eq!(pattern("").replace("xy", "ww", false, 99_999), "wwxy");
        assert_eq!(pattern("").replace("xy", "-", true, 99_999), "-x-y-");
        assert_eq!(pattern("*").replace("xy", "-", true, 99_999), "-");
        assert_eq!(pattern("b").replace("abab", "", true, 99_999), "aa");
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

    #[test]
    fn hostile_patterns_are_replaced_quickly() {
        let value = "a".repeat(3_000);
        let hostile = pattern(&("*a".repeat(200) + "b"));
        assert_eq!(hostile.replace(&value, "x", true, 99_999), value);
        assert_eq!(pattern("?a").replace("aaab\naa", "x", true, 99_999), "xab\nx");
        assert_eq!(pattern("a*b").replace("aab-ab\nab", "x", true, 99_999), "x\nx");
    }
}
