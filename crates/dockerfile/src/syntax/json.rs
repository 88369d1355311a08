//! The JSON form of an operand list: `["a", "b"]`.

use nom::Offset;
use serde_json::value::RawValue;

use super::lines::Joined;
use crate::span::{Span, Spanned};

/// What a text that may be a JSON array turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Array {
    /// An array of strings.
    Strings(Vec<Spanned<String>>),
    /// An array, but this element is no string.
    Mixed(Span),
    /// Not an array at all, or one with a syntax error: a text for the shell.
    None,
}

/// Reads `text`, a slice of the line, as an array of strings.
pub(super) fn array(text: &str, joined: &Joined<'_>) -> Array {
    let text = text.trim();
    if !text.starts_with('[') {
        return Array::None;
    }
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) else { return Array::None };
    let mut strings = Vec::with_capacity(elements.len());
    for element in elements {
        let start = text.offset(element.get());
        let span = joined.place(&text[start..start + element.get().len()]);
        if !element.get().starts_with('"') {
            return Array::Mixed(span);
        }
        match serde_json::from_str::<String>(element.get()) {
            Ok(string) => strings.push(Spanned::new(string, span)),
            Err(_) => return Array::None, // an escape that names half a character
        }
    }
    Array::Strings(strings)
}
