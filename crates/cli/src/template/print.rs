//! Values as Go prints them.

use std::fmt::Write as _;

use serde_json::Value;

use super::TemplateError;

/// The result of an action. A null of a document is an empty list, as docker's own types have it.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None => "<no value>".to_owned(),
        Some(Value::Null) => "[]".to_owned(),
        Some(value) => self::value(value),
    }
}

/// `%v`: lists as `[a b]`, maps as `map[k:v]`.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(self::value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map
                .iter()
                .map(|(key, inner)| match inner {
                    // In the documents of docker an empty object within a map is Go's `struct{}`.
                    Value::Object(inner) if inner.is_empty() => format!("{key}:{{}}"),
                    inner => format!("{key}:{}", self::value(inner)),
                })
                .collect();
            format!("map[{}]", items.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Go's `fmt.Sprintf` for the verbs `v s d q t x f g c` with flags `-`, `0`, `+`, width and precision.
pub(super) fn printf(format: &str, args: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            flags.push(flag);
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok()
        };
        let width = number(&mut chars).unwrap_or(0).min(4096);
        let precision = chars.next_if_eq(&'.').map(|_| number(&mut chars).unwrap_or(0).min(4096));
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            let _ = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        let text = convert(verb, arg, precision, flags.contains('+'))?;
        let missing = width.saturating_sub(text.chars().count());
        if flags.contains('-') {
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else if flags.contains('0') && arg.is_number() {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            out.push_str(sign);
            out.extend(std::iter::repeat_n('0', missing));
            out.push_str(digits);
        } else {
            out.extend(std::iter::repeat_n(' ', missing));
            out.push_str(&text);
        }
    }
    Ok(out)
}

fn convert(
    verb: char,
    arg: &Value,
    precision: Option<usize>,
    plus: bool,
) -> Result<String, TemplateError> {
    let sign =
        |text: String| if plus && !text.starts_with('-') { format!("+{text}") } else { text };
    Ok(match (verb, arg) {
        ('s', Value::Number(_)) => format!("%!s(int={arg})"),
        ('v' | 's', _) => {
            let text = value(arg);
            match precision {
                Some(limit) if verb == 's' => text.chars().take(limit).collect(),
                _ => text,
            }
        }
        ('q', _) => Value::String(value(arg)).to_string(),
        ('d', Value::Number(n)) if n.is_i64() || n.is_u64() => sign(n.to_string()),
        ('t', Value::Bool(b)) => b.to_string(),
        ('c', Value::Number(n)) => n
            .as_u64()
            .and_then(|n| char::from_u32(u32::try_from(n).ok()?))
            .map_or("\u{fffd}".into(), String::from),
        ('x', Value::Number(n)) if n.is_u64() => format!("{:x}", n.as_u64().unwrap_or(0)),
        ('x', Value::String(text)) => text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        ('f' | 'F', Value::Number(n)) => {
            sign(format!("{:.*}", precision.unwrap_or(6), n.as_f64().unwrap_or(0.0)))
        }
        ('g', Value::Number(n)) => sign(n.to_string()),
        ('d' | 't' | 'c' | 'x' | 'f' | 'F' | 'g', _) => {
            format!("%!{verb}({})", value(arg))
        }
        _ => return Err(TemplateError(format!("bad verb '%{verb}'"))),
    })
}

/// Go's `fmt.Sprint`: blanks between operands when neither is a string.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 && !arg.is_string() && !args[i - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&value(arg));
    }
    out
}

/// Go's `fmt.Sprintln`: blanks between all operands and a newline.
pub(super) fn println(args: &[Value]) -> String {
    let items: Vec<_> = args.iter().map(value).collect();
    format!("{}\n", items.join(" "))
}
