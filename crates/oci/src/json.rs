//! One way to write JSON, so that the same value always has the same bytes and the same digest.

use serde::Serialize;
use serde_json::Value;

/// Writes `value` with the keys of every object sorted by their bytes and without white space.
///
/// Serialising directly would not do: maps of foreign types come in random order, and whether
/// [`Value`] keeps its keys sorted depends on a feature that any crate of the program may turn on.
///
/// # Errors
/// Only what the `Serialize` of `value` itself reports, e.g. a map whose keys are not strings.
pub fn to_canonical(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    write(&serde_json::to_value(value)?, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (n, (key, value)) in entries.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        scalar => serde_json::to_writer(out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let inner: HashMap<_, _> = (0..9).map(|n| (format!("k{n}"), n)).collect();
        let value = HashMap::from([("z", vec![inner.clone()]), ("a\"", vec![inner])]);
        let text = String::from_utf8(to_canonical(&value).unwrap()).unwrap();
        let object = r#"{"k0":0,"k1":1,"k2":2,"k3":3,"k4":4,"k5":5,"k6":6,"k7":7,"k8":8}"#;
        assert_eq!(text, format!(r#"{{"a\"":[{object}],"z":[{object}]}}"#));
    }
}
