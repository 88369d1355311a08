//! The functions of a template: those of Go and those that docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::{Cell, truth};
use super::{TemplateError, print};

const NAMES: [&str; 25] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print",
    "printf", "println", "json", "join", "split", "lower", "upper", "title", "pad", "truncate",
    "html", "urlquery",
];

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls the function `name`.
pub(super) fn call(name: &str, args: Vec<Cell>) -> Result<Cell, TemplateError> {
    // `and` and `or` give back the argument that decided, which may be a missing one.
    match name {
        "and" | "or" => {
            let mut decided = None;
            for arg in args {
                decided = arg;
                if truth(decided.as_ref()) == (name == "or") {
                    break;
                }
            }
            return Ok(decided);
        }
        "not" => return Ok(Some((!truth(args.first().and_then(Option::as_ref))).into())),
        _ => {}
    }
    let args: Vec<Value> = args.into_iter().map(Option::unwrap_or_default).collect();
    let wrong = |want: usize| {
        TemplateError(format!("wrong number of args for {name}: want {want} got {}", args.len()))
    };
    let arg = |at: usize| args.get(at).ok_or_else(|| wrong(at + 1));
    let text = |at: usize| arg(at).map(print::value);
    let int = |at: usize| {
        let value = arg(at)?;
        value
            .as_i64()
            .ok_or_else(|| TemplateError(format!("{name}: {} is no integer", print::value(value))))
    };
    Ok(Some(match name {
        "eq" => {
            let first = arg(0)?;
            arg(1)?;
            args[1..].iter().any(|other| order(first, other) == Some(Ordering::Equal)).into()
        }
        "ne" => (order(arg(0)?, arg(1)?) != Some(Ordering::Equal)).into(),
        "lt" => compare(arg(0)?, arg(1)?)?.is_lt().into(),
        "le" => compare(arg(0)?, arg(1)?)?.is_le().into(),
        "gt" => compare(arg(0)?, arg(1)?)?.is_gt().into(),
        "ge" => compare(arg(0)?, arg(1)?)?.is_ge().into(),
        "len" => match arg(0)? {
            Value::String(text) => text.len().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            other => return Err(TemplateError(format!("len of {}", print::value(other)))),
        },
        "index" => index(arg(0)?, &args[1..])?,
        "slice" => slice(arg(0)?, int(1)?, args.get(2).and_then(Value::as_i64))?,
        "print" => print::print(&args).into(),
        "println" => print::println(&args).into(),
        "printf" => print::printf(&text(0)?, &args[1..])?.into(),
        "json" => arg(0)?.to_string().into(),
        "join" => match arg(0)? {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(print::value).collect();
                items.join(&text(1)?).into()
            }
            other => return Err(TemplateError(format!("join of {}", print::value(other)))),
        },
        "split" => text(0)?.split(text(1)?.as_str()).collect::<Vec<_>>().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "upper" => text(0)?.to_uppercase().into(),
        "title" => title(&text(0)?).into(),
        "pad" => {
            let blanks = |n: i64| " ".repeat(usize::try_from(n).unwrap_or(0).min(4096));
            format!("{}{}{}", blanks(int(1)?), text(0)?, blanks(int(2)?)).into()
        }
        "truncate" => {
            let limit = usize::try_from(int(1)?).unwrap_or(0);
            text(0)?.chars().take(limit).collect::<String>().into()
        }
        "html" => text(0)?
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;")
            .into(),
        _ => return Err(TemplateError(format!("function {name:?} not defined"))),
    }))
}

fn title(text: &str) -> String {
    let mut start = true;
    let upper = |c: char| c.to_uppercase().collect::<String>();
    text.chars()
        .map(|c| {
            let word = if start { upper(c) } else { c.to_string() };
            start = c.is_whitespace();
            word
        })
        .collect()
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, TemplateError> {
    let Some((key, rest)) = keys.split_first() else { return Ok(value.clone()) };
    let inner = match (value, key) {
        // The zero value of a map of strings: what docker's labels, ports and networks are.
        (Value::Object(map), Value::String(key)) => {
            map.get(key).cloned().unwrap_or_else(|| Value::String(String::new()))
        }
        (Value::Array(items), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            let item = at.and_then(|at| items.get(at)).cloned();
            item.ok_or_else(|| TemplateError(format!("index out of range: {key}")))?
        }
        (Value::String(text), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            let byte = at.and_then(|at| text.as_bytes().get(at)).copied();
            byte.ok_or_else(|| TemplateError(format!("index out of range: {key}")))?.into()
        }
        _ => {
            let text = print::value(value);
            return Err(TemplateError(format!(
                "can't index item {text} with {}",
                print::value(key)
            )));
        }
    };
    index(&inner, rest)
}

fn slice(value: &Value, from: i64, to: Option<i64>) -> Result<Value, TemplateError> {
    let range = |len: usize| {
        let from = usize::try_from(from).ok()?;
        let to = to.map_or(Some(len), |to| usize::try_from(to).ok())?;
        (from <= to && to <= len).then_some(from..to)
    };
    let sliced = match value {
        Value::String(text) => range(text.len()).and_then(|r| text.get(r)).map(Value::from),
        Value::Array(items) => range(items.len()).map(|r| Value::from(&items[r])),
        _ => None,
    };
    sliced.ok_or_else(|| TemplateError(format!("can't slice {}", print::value(value))))
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, TemplateError> {
    order(a, b).ok_or_else(|| TemplateError("incompatible types for comparison".into()))
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}
