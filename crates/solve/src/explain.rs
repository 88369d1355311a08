//! Why a step was not known: the first difference to the nearest earlier record.

use std::collections::BTreeSet;

use bld_graph::Op;
use bld_layer::copy::{Item, selection_digest};
use bld_layer::{Kind, Node, View};
use bld_oci::Digest;
use bld_store::Record;
use serde_json::{Map, Value};

use crate::context::Remembered;
use crate::error::StepFailure;
use crate::evaluate;
use crate::select::{self, Place};
use crate::solver::Build;
use crate::step::Tree;

/// Earlier records of the same place in a Dockerfile that are looked at.
const NEIGHBOURS: usize = 8;

/// Most files of local contexts that are listed in a record; with more, a change is not traced to
/// its file.
const MOST_FILES: usize = 1000;

/// The operation and the files it takes of local contexts, as they are kept in a record to be
/// compared one by one.
pub(crate) fn fields(build: &Build, index: usize) -> Value {
    let mut fields = serde_json::from_slice(&build.vertex(index).key()).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut fields
        && let Some(files) = files(build, index)
    {
        fields.insert(FILES.to_owned(), Value::Object(files));
    }
    fields
}

/// The field that lists files. No operation has one of this name.
const FILES: &str = "files";

/// Path to mode and content. A file that cannot be read now makes the list useless, nothing more.
fn files(build: &Build, index: usize) -> Option<Map<String, Value>> {
    let mut files = Map::new();
    for input in &build.steps[index].inputs {
        if let Some(Tree::Context(context)) = build.trees[input.step].get() {
            let remembered = Remembered::open(&build.env.store, context);
            let view = select::context_view(context);
            let place = Place::Context(context);
            for node in select::files(build.vertex(index), input.input, &view, &place).ok()? {
                let state = match node.meta.kind {
                    Kind::File => contents(&view, &node, &remembered)?.short(),
                    Kind::Symlink => node.link_target().ok()?.to_string_lossy().into_owned(),
                    _ => String::new(),
                };
                let path = node.path.to_string_lossy().trim_start_matches('/').to_owned();
                files.insert(path, format!("{:04o} {state}", node.meta.mode).into());
                if files.len() > MOST_FILES {
                    return None;
                }
            }
        }
    }
    (!files.is_empty()).then_some(files)
}

/// A digest of the contents of a file: of a copy that gets the owner and mode all copies get.
fn contents(view: &View, node: &Node, remembered: &Remembered) -> Option<Digest> {
    let item = Item { node: node.clone(), name: node.name().to_owned(), filter: None };
    let mode = "644".parse().ok();
    selection_digest(view, &[item], Some((0, 0)), mode.as_ref(), Some(remembered)).ok()
}

/// Why `index`, which is now as `fields` says, was not known; none if there is nothing to compare
/// it with.
pub(crate) fn miss(
    build: &Build,
    index: usize,
    fields: &Value,
) -> Result<Option<String>, StepFailure> {
    let step = &build.steps[index];
    if build.vertex(index).no_cache {
        return Ok(Some("asked for without cache".to_owned()));
    }
    let nearest = build
        .env
        .store
        .find_similar(&step.scope, NEIGHBOURS)?
        .into_iter()
        .map(|record| differences(build, index, fields, &record))
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
    let are_files_told = record.fields[FILES] != now[FILES];
    for input in &build.steps[index].inputs {
        let recorded = evaluate::recorded_input(&record.inputs, input);
        let is_same = recorded.is_some_and(|recorded| recorded.definition == input.definition);
        let is_told = are_files_told && matches!(build.op(input.step), Op::Context(_));
        let name = build.input_name(input);
        if !is_same && !is_told {
            found.push(format!("input changed: {name}"));
        } else if build.steps[input.step].forced {
            found.push(format!("input made without cache: {name}"));
        } else if recorded.is_some_and(|then| !evaluate::is_current(build, input, then)) {
            found.push(format!("input made again: {name}"));
        }
    }
    found
}

/// Names every file that differs.
fn compare_files(then: &Value, now: &Value, found: &mut Vec<String>) {
    // A list that is missing was too long, or is of an operation without files.
    let (Value::Object(then), Value::Object(now)) = (then, now) else { return };
    let names: BTreeSet<_> = then.keys().chain(now.keys()).collect();
    let split = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.split_once(' ').map(|(mode, state)| (mode.to_owned(), state.to_owned()))
    };
    for name in names {
        match (then.get(name).map(split), now.get(name).map(split)) {
            (then, now) if then == now => {}
            (None, _) => found.push(format!("{name} is new")),
            (_, None) => found.push(format!("{name} is gone")),
            (Some(Some((then, old))), Some(Some((now, new)))) if old == new => {
                found.push(format!("mode of {name} changed from {then} to {now}"));
            }
            _ => found.push(format!("{name} changed")),
        }
    }
}

/// Names every field that differs, by its path.
fn compare(path: &str, then: &Value, now: &Value, found: &mut Vec<String>) {
    match (then, now) {
        (then, now) if path == FILES => compare_files(then, now, found),
        (Value::Object(then), Value::Object(now)) => {
            let names: BTreeSet<_> = then.keys().chain(now.keys()).collect();
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

    #[test]
    fn differences_name_files() {
        let then = json!({"files": {"a": "0644 1", "b": "0644 1", "c": "0644 1", "d": "0644 1"}});
        let now = json!({"files": {"a": "0644 2", "b": "0755 1", "d": "0644 1", "e": "0644 1"}});
        let mut found = Vec::new();
        compare("", &then, &now, &mut found);
        let expected =
            ["a changed", "mode of b changed from 0644 to 0755", "c is gone", "e is new"];
        assert_eq!(found, expected);
        compare("", &then, &json!({}), &mut found);
        assert_eq!(found, expected);
    }
}
