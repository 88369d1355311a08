//! Why a step was not known: the first difference to the nearest earlier record.

use bld_graph::Vertex;
use bld_store::Record;
use serde_json::Value;

use crate::error::StepFailure;
use crate::solver::Build;
use crate::step::StepInput;

/// Earlier records of the same place in a Dockerfile that are looked at.
const NEIGHBOURS: usize = 4;

/// The operation as it is kept in a record, to be compared field by field.
pub(crate) fn fields(vertex: &Vertex) -> Value {
    serde_json::from_slice(&vertex.key()).unwrap_or(Value::Null)
}

/// Why `index` was not known; none if there is nothing to compare it with.
pub(crate) fn miss(build: &Build, index: usize) -> Result<Option<String>, StepFailure> {
    let step = &build.steps[index];
    let vertex = build.vertex(index);
    if vertex.no_cache {
        return Ok(Some("asked for without cache".to_owned()));
    }
    let now = fields(vertex);
    let nearest = build
        .env
        .store
        .find_similar(&step.scope, NEIGHBOURS)?
        .into_iter()
        .map(|record| differences(build, index, &now, &record))
        .min_by_key(Vec::len);
    Ok(nearest.map(|differences| match differences.as_slice() {
        [] => "the earlier result is gone".to_owned(),
        [first] => first.clone(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }))
}

fn differences(build: &Build, index: usize, now: &Value, record: &Record) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &record.fields, now, &mut found);
    for input in &build.steps[index].inputs {
        let role = StepInput::role(input.input);
        match record.inputs.iter().find(|recorded| recorded.name == role) {
            Some(recorded) if recorded.definition == input.definition => {}
            _ => found.push(format!("input changed: {}", build.input_name(input))),
        }
    }
    found
}

/// Names every field that differs, by its path.
fn compare(path: &str, then: &Value, now: &Value, found: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let names: std::collections::BTreeSet<_> = then.keys().chain(now.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let null = Value::Null;
                compare(
                    &path,
                    then.get(name).unwrap_or(&null),
                    now.get(name).unwrap_or(&null),
                    found,
                );
            }
        }
        (then, now) if then == now => {}
        (then, now) if path == "env" => found.push(environment(then, now)),
        (then, now) => found.push(format!("{path} changed from {} to {}", short(then), short(now))),
    }
}

/// Names the variables that differ; never their values, which may be secret.
fn environment(then: &Value, now: &Value) -> String {
    let pairs = |value: &Value| -> Vec<(String, String)> {
        serde_json::from_value(value.clone()).unwrap_or_default()
    };
    let (then, now) = (pairs(then), pairs(now));
    let mut names: Vec<&str> = then
        .iter()
        .filter(|pair| !now.contains(pair))
        .chain(now.iter().filter(|pair| !then.contains(pair)))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        "order of the environment changed".to_owned()
    } else {
        format!("environment changed: {}", names.join(", "))
    }
}

fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_name_fields_and_variables_but_no_values_of_variables() {
        let then = json!({"args": ["a"], "cwd": "/", "env": [["A", "1"], ["TOKEN", "s3cret"]]});
        let now = json!({"args": ["b"], "cwd": "/", "env": [["A", "1"], ["TOKEN", "other"]]});
        let mut found = Vec::new();
        compare("", &then, &now, &mut found);
        assert_eq!(found, [r#"args changed from ["a"] to ["b"]"#, "environment changed: TOKEN"]);
    }
}
