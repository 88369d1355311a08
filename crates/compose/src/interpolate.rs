//! Variables in values: `$NAME`, `${NAME}` and the forms with something behind the name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Replaces the variables of every value below `value`, keys excepted. Those that are unset and have
/// no default are noted in `unset`; they become nothing.
///
/// # Errors
/// The keys that lead to what is wrong, and what that is.
pub(crate) fn interpolate(
    value: &mut Value,
    variables: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
    at: &str,
) -> Result<(), (String, String)> {
    match value {
        Value::String(text) if text.contains('$') => {
            *text = expand(text, variables, unset).map_err(|problem| (at.to_owned(), problem))?;
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                interpolate(item, variables, unset, &format!("{at}[{index}]"))?;
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                interpolate(item, variables, unset, &at)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// A text with its variables replaced.
fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| invalid(text))?;
            let (name, tail) = inner[..end].split_at(name_length(inner));
            if name.is_empty() {
                return Err(invalid(text));
            }
            let value = variables.get(name).map(String::as_str);
            out.push_str(&substituted(name, value, tail, text, variables, unset)?);
            rest = &inner[end + 1..];
        } else {
            let (name, tail) = after.split_at(name_length(after));
            if name.is_empty() {
                return Err(invalid(text));
            }
            if !variables.contains_key(name) {
                unset.insert(name.to_owned());
            }
            out.push_str(variables.get(name).map_or("", String::as_str));
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of `${NAME` with what is behind the name, up to the brace.
fn substituted(
    name: &str,
    value: Option<&str>,
    tail: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
    unset: &mut BTreeSet<String>,
) -> Result<String, String> {
    if tail.is_empty() {
        if value.is_none() {
            unset.insert(name.to_owned());
        }
        return Ok(value.unwrap_or_default().to_owned());
    }
    // With a colon, an empty value is as good as none.
    let (value, operator) = match tail.strip_prefix(':') {
        Some(operator) => (value.filter(|value| !value.is_empty()), operator),
        None => (value, tail),
    };
    let mut chars = operator.chars();
    let kind = chars.next().ok_or_else(|| invalid(text))?;
    let word = chars.as_str();
    match (kind, value) {
        ('-' | '?', Some(value)) => Ok(value.to_owned()),
        ('-', None) | ('+', Some(_)) => expand(word, variables, unset),
        ('+', None) => Ok(String::new()),
        ('?', None) => {
            let why = expand(word, variables, unset)?;
            let why = if why.is_empty() { "it is not set".to_owned() } else { why };
            Err(format!("required variable {name} is missing a value: {why}"))
        }
        _ => Err(invalid(text)),
    }
}

fn invalid(text: &str) -> String {
    format!("invalid interpolation format {text:?}: write $$ for a dollar sign")
}

fn name_length(text: &str) -> usize {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(starts) {
        return 0;
    }
    text.find(|c: char| !starts(c) && !c.is_ascii_digit()).unwrap_or(text.len())
}

/// Where the brace ends that was opened in front of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(index),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let variables =
            [("A", "1"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        expand(text, &variables.into(), &mut BTreeSet::new())
    }

    #[test]
    fn all_forms_are_replaced() {
        for (text, expected) in [
            ("$A-${A}-$$A", "1-1-$A"),
            ("${NONE:-d}${EMPTY:-d}${EMPTY-d}", "dd"),
            ("${A:+x}${EMPTY:+x}${EMPTY+x}", "xx"),
            ("${NONE:-${A:-b}}", "1"),
            ("${NONE-}$NONE", ""),
            ("${A?needed}", "1"),
            ("$A.b", "1.b"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let missing = expanded("${NONE:?say who}");
        assert_eq!(missing, Err("required variable NONE is missing a value: say who".to_owned()));
        for text in ["$", "a$ b", "${", "${}", "${A!x}", "$-"] {
            assert!(expanded(text).is_err_and(|why| why.contains("$$")), "{text}");
        }
    }
}
