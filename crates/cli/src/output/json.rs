//! Documents for people, as Go writes them.

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::error::Failure;

/// `value` with `indent` for each level.
pub(crate) fn pretty(value: &impl Serialize, indent: &str) -> Result<String, Failure> {
    let mut out = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    value
        .serialize(&mut Serializer::with_formatter(&mut out, formatter))
        .map_err(std::io::Error::from)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The JSON document `text` with other white space; keys stay in their order.
pub(crate) fn indented(text: &str, indent: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    };
    let mut rest = text.chars().filter(|c| *c != '\r').peekable();
    while let Some(c) = rest.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn order_and_texts_stay() {
        let given = r#"{ "b":[1, {"x":"a, \"{:"}],
            "a" : {}, "c":[ ]}"#;
        let expected = "{\n\t\"b\": [\n\t\t1,\n\t\t{\n\t\t\t\"x\": \"a, \\\"{:\"\n\t\t}\n\t],\n\t\"a\": {},\n\t\
                        \"c\": []\n}";
        assert_eq!(indented(given, "\t"), expected);
        assert_eq!(indented(expected, "\t"), expected);
    }
}
