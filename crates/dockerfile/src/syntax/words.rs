//! The ways an operand text is split into words.

/// Blanks between the words of a list. Unlike [`char::is_whitespace`] without the exotic ones,
/// which are part of the word.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// The first word, and what follows the blanks behind it.
pub(super) fn first(input: &str) -> (&str, &str) {
    let (word, rest) = input.split_at(input.find(is_blank).unwrap_or(input.len()));
    (word, rest.trim_start_matches(is_blank))
}

/// Words separated by blanks; quotes mean nothing.
pub(super) fn plain(input: &str) -> impl Iterator<Item = &str> {
    input.split(is_blank).filter(|word| !word.is_empty())
}

/// Words in which quotes, escapes and `${...}` keep blanks together. They are kept in the word;
/// only an escape character that escapes nothing, at the very end, is dropped.
///
/// BuildKit splits inside `${...}`, which can only ever lead to an error; so nothing that it accepts
/// is read differently here.
pub(super) fn quoted(input: &str, escape: char) -> Vec<&str> {
    split(input, escape, true).or_else(|| split(input, escape, false)).unwrap_or_default()
}

/// Splits with or without regard to `${...}`; none when one of them isn't closed.
fn split(input: &str, escape: char, group: bool) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = input.trim_start();
    while !rest.is_empty() {
        let (length, word) = word(rest, escape, group)?;
        if !word.is_empty() {
            words.push(word);
        }
        rest = rest[length..].trim_start();
    }
    Some(words)
}

/// The length of the first word, and the word.
fn word(input: &str, escape: char, group: bool) -> Option<(usize, &str)> {
    let mut quote = None;
    let mut open = 0_usize; // substitutions
    let mut chars = input.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() && open == 0 => return Some((at, &input[..at])),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(opened) if c == opened => quote = None,
            // Nothing can be escaped in single quotes.
            Some('\'') => {}
            _ if c == escape => {
                if chars.next().is_some() {
                    continue;
                }
                return (open == 0).then_some((input.len(), &input[..at]));
            }
            None if group && c == '$' && input[at + 1..].starts_with('{') => open += 1,
            None if c == '}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    (open == 0).then_some((input.len(), input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_keep_words_together() {
        for (input, words) in [
            ("foo bar", &["foo", "bar"][..]),
            ("foo\\ bar", &["foo\\ bar"]),
            ("foo 'abc xyz'", &["foo", "'abc xyz'"]),
            ("a=\"b \\\" c\" d", &["a=\"b \\\" c\"", "d"]),
            ("a='b\\' c", &["a='b\\'", "c"]),
            ("a=b \\", &["a=b"]),
            ("a=b\\", &["a=b"]),
            ("a=\"b\\", &["a=\"b"]),
            ("a=${x:-b c} d", &["a=${x:-b c}", "d"]),
            ("a=${x:-${y:-b c} \\} d} e", &["a=${x:-${y:-b c} \\} d}", "e"]),
            ("a=${x:-'}' b} c", &["a=${x:-'}' b}", "c"]),
            ("a=${x b c=d", &["a=${x", "b", "c=d"]),
            ("a=$} b", &["a=$}", "b"]),
            ("f\u{f6}o  b\u{e0}r ", &["f\u{f6}o", "b\u{e0}r"]),
            ("", &[]),
        ] {
            assert_eq!(quoted(input, '\\'), words, "{input}");
        }
        assert_eq!(quoted("a`  b\\ c", '`'), ["a` ", "b\\", "c"]);
    }

    #[test]
    fn plain_words_know_no_quotes() {
        assert_eq!(plain(" \"a b\"\tc ").collect::<Vec<_>>(), ["\"a", "b\"", "c"]);
        assert_eq!(first("RUN \t x y"), ("RUN", "x y"));
        assert_eq!(first("RUN"), ("RUN", ""));
    }
}
