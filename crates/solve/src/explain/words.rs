//! Values as they are shown in reasons: short, and where they differ.

use serde_json::Value;

/// Most characters of a value that are shown.
const MOST: usize = 60;

/// Characters in front of the first difference that are shown when a text is cut.
const BEFORE: usize = 12;

/// `WHAT changed from A to B`, of long values the part that differs.
pub(super) fn changed(what: &str, then: &str, now: &str) -> String {
    let (then, now) = difference(then, now);
    format!("{what} changed from {} to {}", quoted(&then), quoted(&now))
}

/// A JSON value as text: strings as they are.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// In quotes when it would be hard to see where it begins or ends, and in one line.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' || c == '…';
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

/// No more than [`MOST`] characters of `text`.
pub(super) fn short(text: &str) -> String {
    window(text, 0)
}

/// How much two texts have in common at their beginning and end: 0 to 100.
pub(super) fn likeness(a: &str, b: &str) -> usize {
    let (before, after) = common(a, b);
    ((before + after) * 100).checked_div(a.len().max(b.len())).unwrap_or(100)
}

/// Bytes that two texts have in common at the beginning, and at the end of the rest; both at
/// boundaries of characters.
fn common(a: &str, b: &str) -> (usize, usize) {
    let same = |(x, y): &(char, char)| x == y;
    let length = |pairs: &mut dyn Iterator<Item = (char, char)>| -> usize {
        pairs.take_while(same).map(|(c, _)| c.len_utf8()).sum()
    };
    let before = length(&mut a.chars().zip(b.chars()));
    let (a, b) = (&a[before..], &b[before..]);
    (before, length(&mut a.chars().rev().zip(b.chars().rev())))
}

/// The parts of two texts around their first difference.
fn difference(then: &str, now: &str) -> (String, String) {
    if then.chars().count().max(now.chars().count()) <= MOST {
        return (then.to_owned(), now.to_owned());
    }
    // From the beginning of the word, with a little of what is before it.
    let (before, _) = common(then, now);
    let word = then[..before].rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let start = if word > BEFORE { word } else { 0 };
    (window(then, start), window(now, start))
}

/// The text from byte `start` on, cut where something is left out.
fn window(text: &str, start: usize) -> String {
    let shown = text.get(start..).unwrap_or(text);
    let cut = if start > 0 { "…" } else { "" };
    match shown.char_indices().nth(MOST) {
        Some((end, _)) => format!("{cut}{}…", &shown[..end]),
        None => format!("{cut}{shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_texts_the_difference_is_shown() {
        let long = |what: &str| {
            format!("apt-get update && apt-get install -y {what} curl {}", "x".repeat(90))
        };
        let said = changed("command", &long("gcc-12"), &long("gcc-13"));
        assert!(said.starts_with("command changed from \"…gcc-12 curl xxx"), "{said}");
        assert!(
            said.contains("… to \"…gcc-13 curl") || said.contains("…\" to \"…gcc-13"),
            "{said}"
        );
        assert_eq!(changed("USER", "", "app"), "USER changed from \"\" to app");
        assert_eq!(
            changed("command", "make -j2", "make -j4"),
            "command changed from \"make -j2\" to \"make -j4\""
        );
    }

    #[test]
    fn texts_are_alike_by_their_ends() {
        assert_eq!(likeness("same", "same"), 100);
        assert_eq!(likeness("", ""), 100);
        assert_eq!(likeness("aé", "bé"), 66);
        assert!(likeness("make all", "make most") > 50);
        assert!(likeness("make", "apt-get install") < 20);
    }
}
