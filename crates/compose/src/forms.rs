//! Values that may be written in several ways.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A text, a number or a truth value, as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Names with values, as a mapping or as a list of `NAME=VALUE`; a name alone has no value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mapping(pub BTreeMap<String, Option<String>>);

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let wrong = |item: &Value| D::Error::custom(format!("{item} is neither text nor number"));
        let mut mapping = BTreeMap::new();
        match Value::deserialize(deserializer)? {
            Value::Null => {}
            Value::Object(fields) => {
                for (key, value) in fields {
                    let value = match &value {
                        Value::Null => None,
                        other => Some(scalar(other).ok_or_else(|| wrong(other))?),
                    };
                    mapping.insert(key, value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    let text = scalar(&item).ok_or_else(|| wrong(&item))?;
                    match text.split_once('=') {
                        Some((key, value)) => {
                            mapping.insert(key.to_owned(), Some(value.to_owned()))
                        }
                        None => mapping.insert(text, None),
                    };
                }
            }
            other => {
                return Err(D::Error::custom(format!("{other} is neither a mapping nor a list")));
            }
        }
        Ok(Self(mapping))
    }
}

/// Words: a list, or a text that is split as a shell would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match Value::deserialize(deserializer)? {
            Value::String(text) => shlex::split(&text).map(Self).ok_or_else(|| {
                D::Error::custom(format!("{text:?} has a quote that is not closed"))
            }),
            Value::Array(items) => {
                let words: Option<Vec<_>> = items.iter().map(scalar).collect();
                words.map(Self).ok_or_else(|| D::Error::custom("the words have to be texts"))
            }
            other => Err(D::Error::custom(format!("{other} is neither text nor a list of texts"))),
        }
    }
}

/// One text or a list of them.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(scalar).collect();
            texts.ok_or_else(|| D::Error::custom("the items have to be texts"))
        }
        other => scalar(&other).map(|text| vec![text]).ok_or_else(|| {
            D::Error::custom(format!("{other} is neither text nor a list of texts"))
        }),
    }
}

/// A text, also where a number is written.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        other => scalar(&other)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("{other} is not a text"))),
    }
}

/// A truth value, also as text: a variable may have brought it.
pub(crate) fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    use serde::de::Error as _;
    let value = Value::deserialize(deserializer)?;
    match scalar(&value).as_deref() {
        Some("true" | "yes" | "on" | "1") => Ok(true),
        Some("false" | "no" | "off" | "0" | "") => Ok(false),
        _ => Err(D::Error::custom(format!("{value} is neither true nor false"))),
    }
}

/// A number, also as text.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    use serde::de::Error as _;
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    let parsed = scalar(&value).and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| D::Error::custom(format!("{value} is not a number")))
}
