//! Laying one file over another; see the specification's chapter "Merge".

use serde_json::{Map, Value};

/// Lays `over` over `base`: mappings are merged, sequences added, all else is replaced.
pub(crate) fn merge(base: &mut Value, over: Value) {
    merge_at(base, over, &[]);
}

/// As [`merge`], of two services.
pub(crate) fn merge_service(base: &mut Value, over: Value) {
    merge_at(base, over, &["services", "*"]);
}

fn merge_at(base: &mut Value, over: Value, path: &[&str]) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                let mut below: Vec<&str> = path.to_vec();
                below.push(&key);
                match base.get_mut(&key) {
                    Some(known) if is_mapping_or_list(&below) => {
                        let mut known_map = as_mapping(std::mem::take(known), &below);
                        let over = as_mapping(value, &below);
                        merge_at(&mut known_map, over, &below);
                        *known = known_map;
                    }
                    Some(known) => merge_at(known, value, &below),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(base), Value::Array(over)) if !is_replaced(path) => {
            for item in over {
                let same = |known: &Value| {
                    let own = identity(known, path);
                    own.is_some() && own == identity(&item, path)
                };
                if let Some(place) = base.iter().position(same) {
                    base[place] = item;
                } else if !base.contains(&item) {
                    base.push(item);
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn service_key<'a>(path: &[&'a str]) -> Option<&'a str> {
    match path {
        ["services", _, rest @ ..] => rest.last().copied().filter(|_| rest.len() <= 2),
        _ => None,
    }
}

/// Sequences that are a whole of their own.
fn is_replaced(path: &[&str]) -> bool {
    matches!(service_key(path), Some("command" | "entrypoint" | "test"))
}

/// What may be a list of `KEY=VALUE` or of names as well as a mapping.
fn is_mapping_or_list(path: &[&str]) -> bool {
    matches!(path, ["services", _, key] if matches!(*key,
        "environment" | "labels" | "depends_on" | "networks" | "extra_hosts" | "sysctls"))
        || matches!(path, ["services", _, "build", "args" | "labels"])
}

fn as_mapping(value: Value, path: &[&str]) -> Value {
    let Value::Array(items) = value else { return value };
    let is_hosts = path.last() == Some(&"extra_hosts");
    let pair = |item: Value| -> Option<(String, Value)> {
        let text = item.as_str()?.to_owned();
        if path.last() == Some(&"depends_on") {
            return Some((text, serde_json::json!({"condition": "service_started"})));
        }
        let split = text.split_once('=').or_else(|| is_hosts.then(|| text.split_once(':'))?);
        Some(match split {
            Some((key, value)) => (key.to_owned(), Value::String(value.to_owned())),
            None => (text, Value::Null),
        })
    };
    items.into_iter().filter_map(pair).collect::<Map<_, _>>().into()
}

/// By what an entry of a sequence takes the place of another one.
fn identity(item: &Value, path: &[&str]) -> Option<String> {
    match service_key(path)? {
        "volumes" => match item {
            Value::String(text) => {
                let parts: Vec<&str> = text.split(':').collect();
                Some((*if parts.len() > 1 { parts.get(1)? } else { parts.first()? }).to_owned())
            }
            other => other["target"].as_str().map(str::to_owned),
        },
        "secrets" | "configs" => match item {
            Value::String(text) => Some(text.clone()),
            other => other["source"].as_str().map(str::to_owned),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_override_adds_replaces_and_merges() {
        let mut base = json!({"services": {"web": {
            "image": "a", "command": ["one", "two"], "ports": ["80:80"],
            "environment": ["A=1", "B=2"], "volumes": ["./x:/data", "/v"],
            "depends_on": ["db"],
        }}});
        merge(
            &mut base,
            json!({"services": {"web": {
            "image": "b", "command": ["three"], "ports": ["81:81", "80:80"],
            "environment": {"B": 3}, "volumes": ["./y:/data"],
            "depends_on": {"cache": {"condition": "service_healthy"}},
        }, "db": {"image": "c"}}}),
        );
        assert_eq!(
            base,
            json!({"services": {"web": {
            "image": "b", "command": ["three"], "ports": ["80:80", "81:81"],
            "environment": {"A": "1", "B": 3}, "volumes": ["./y:/data", "/v"],
            "depends_on": {"db": {"condition": "service_started"},
                           "cache": {"condition": "service_healthy"}},
        }, "db": {"image": "c"}}})
        );
    }
}
