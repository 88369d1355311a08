//! What differs between two operations, in the words of the Dockerfile.

use std::collections::BTreeSet;

use bld_dockerfile::lint::is_secret_name;
use bld_oci::Digest;
use serde_json::{Map, Value};

use super::words::{changed, quoted, short, text};
use crate::solver::Build;
use crate::step::StepInput;

/// The names of the variables that are build arguments. No operation has a field of this name.
pub(super) const ARGUMENTS: &str = "arguments";

/// Which step of its kind in its stage it is, from 1. No operation has a field of this name.
pub(super) const PLACE: &str = "place";

/// What the steps are called that deliver the inputs, by role. No operation has a field of this name.
pub(super) const PROVIDERS: &str = "providers";

/// What stands for the value of a variable that may be a secret, before some digits of its digest.
const HIDDEN: &str = "hidden:";

/// The operation as it is kept in a record, to be compared field by field.
pub(crate) fn of(build: &Build, index: usize) -> Value {
    let vertex = build.vertex(index);
    let mut fields = serde_json::from_slice(&vertex.key()).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut fields {
        for variable in fields.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
            hide(variable);
        }
        let env = &vertex.surroundings.env;
        let arguments = &env[env.len() - vertex.surroundings.arguments.min(env.len())..];
        if fields.contains_key("env") && !arguments.is_empty() {
            let names = arguments.iter().map(|(name, _)| Value::from(name.as_str()));
            fields.insert(ARGUMENTS.to_owned(), names.collect());
        }
        let inputs = build.steps[index].inputs.iter();
        let providers: Map<String, Value> = inputs
            .map(|input| (StepInput::role(input.input), build.input_name(input).into()))
            .collect();
        fields.insert(PROVIDERS.to_owned(), providers.into());
        fields.insert(PLACE.to_owned(), build.steps[index].place.into());
    }
    fields
}

/// Takes the value of a variable away whose name speaks of a secret. That it changed can still be
/// told.
fn hide(variable: &mut Value) {
    let Some([Value::String(name), Value::String(value)]) =
        variable.as_array_mut().map(Vec::as_mut_slice)
    else {
        return;
    };
    if is_secret_name(name) {
        *value = format!("{HIDDEN}{}", Digest::of(value.as_bytes()).short());
    }
}

/// Tells every field that differs.
pub(super) fn compare(then: &Value, now: &Value) -> Vec<String> {
    let (Value::Object(old), Value::Object(new)) = (then, now) else { return Vec::new() };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let (then, now) = (&then[name.as_str()], &now[name.as_str()]);
        if then == now {
            continue;
        }
        match name.as_str() {
            ARGUMENTS | PLACE | PROVIDERS | "op" => {}
            "args" => found.push(command(then, now)),
            "env" => found.extend(environment(old, new)),
            "platform" => found.push(changed("platform", &platform(then), &platform(now))),
            "mounts" => list("--mount", then, now, mount_name, mount, &mut found),
            "scripts" => list("here-document", then, now, script_name, script, &mut found),
            "sources" => sources(then, now, &mut found),
            "diff_ids" => found.push("the layers of the image changed".to_owned()),
            name => found.push(match (value(name, then), value(name, now)) {
                (None, Some(now)) => format!("{} is new: {}", word(name), quoted(&short(&now))),
                (Some(then), None) => {
                    format!("{} is gone: it was {}", word(name), quoted(&short(&then)))
                }
                (then, now) => {
                    changed(word(name), &then.unwrap_or_default(), &now.unwrap_or_default())
                }
            }),
        }
    }
    found
}

/// What a field is called in a Dockerfile or on the command line.
fn word(field: &str) -> &str {
    match field {
        "cwd" => "WORKDIR",
        "user" => "USER",
        "network" => "--network",
        "security" => "--security",
        "devices" => "--device",
        "hostname" => "host name",
        "extra_hosts" => "--add-host",
        "dest" => "destination",
        "chown" => "--chown",
        "chmod" => "--chmod",
        "link" => "--link",
        "parents" => "--parents",
        "excludes" => "--exclude",
        "path" => "directory",
        "mtime" => "SOURCE_DATE_EPOCH",
        "filename" => "file name",
        "content" => "downloaded file",
        other => other,
    }
}

/// A field as it is shown; none if it is not there.
fn value(field: &str, value: &Value) -> Option<String> {
    Some(match (field, value) {
        ("user", Value::Null) => "root".to_owned(),
        ("link" | "parents" | "keep_git_dir" | "skip_submodules", Value::Null) => {
            "false".to_owned()
        }
        (_, Value::Null) => return None,
        ("content", Value::String(digest)) => digest.get(..19).unwrap_or(digest).to_owned(),
        ("excludes" | "extra_hosts", Value::Array(list)) => {
            list.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        _ => text(value),
    })
}

fn platform(value: &Value) -> String {
    ["os", "architecture", "variant"]
        .iter()
        .filter_map(|part| value[*part].as_str())
        .collect::<Vec<_>>()
        .join("/")
}

/// The command line: most of the time a shell and a text.
fn command(then: &Value, now: &Value) -> String {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let (then, now) = (words(then), words(now));
    match (then.split_last(), now.split_last()) {
        (Some((old, old_shell)), Some((new, new_shell))) if old_shell == new_shell => {
            changed_text("command", old, new)
        }
        (Some((old, old_shell)), Some((new, new_shell)))
            if old == new && !old_shell.is_empty() && !new_shell.is_empty() =>
        {
            changed("SHELL", &old_shell.join(" "), &new_shell.join(" "))
        }
        _ => changed("command", &then.join(" "), &now.join(" ")),
    }
}

/// Tells of a text of several lines by the first that differs.
fn changed_text(what: &str, then: &str, now: &str) -> String {
    if !then.trim_end().contains('\n') && !now.trim_end().contains('\n') {
        return changed(what, then.trim_end_matches('\n'), now.trim_end_matches('\n'));
    }
    let (mut old, mut new) = (then.lines(), now.lines());
    for line in 1_usize.. {
        match (old.next(), new.next()) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                return changed(&format!("line {line} of the {what}"), old, new);
            }
            (None, Some(new)) => {
                return format!("line {line} of the {what} is new: {}", quoted(&short(new)));
            }
            (Some(old), None) => {
                return format!("line {line} of the {what} is gone: {}", quoted(&short(old)));
            }
            (None, None) => break,
        }
    }
    format!("{what} changed (blanks at the end)")
}

/// Tells which variables differ, each as what it is.
fn environment(then: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let pairs = |fields: &Map<String, Value>| -> Vec<(String, String)> {
        fields
            .get("env")
            .and_then(|env| serde_json::from_value(env.clone()).ok())
            .unwrap_or_default()
    };
    let is_argument = |fields: &Map<String, Value>, name: &str| {
        let names = fields.get(ARGUMENTS).and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|known| known == name))
    };
    let (old, new) = (pairs(then), pairs(now));
    let find = |pairs: &[(String, String)], name: &str| {
        pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let names: BTreeSet<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in names {
        let (was, is) = (find(&old, name), find(&new, name));
        if was == is {
            continue;
        }
        let fields = if is.is_some() { now } else { then };
        let what = if is_argument(fields, name) { "ARG" } else { "ENV" };
        let what = format!("{what} {name}");
        found.push(match (was, is) {
            _ if is_secret_name(name) => {
                format!("{what} changed (its value is not shown: it may be a secret)")
            }
            (Some(was), Some(is)) => changed(&what, &was, &is),
            (None, Some(is)) => format!("{what} is new: {}", quoted(&short(&is))),
            (Some(was), None) => format!("{what} is gone: it was {}", quoted(&short(&was))),
            (None, None) => continue,
        });
    }
    if found.is_empty() {
        found.push("order of the environment changed".to_owned());
    }
    found
}

/// Compares two lists whose entries have names.
fn list(
    what: &str,
    then: &Value,
    now: &Value,
    name: fn(&Value) -> String,
    differ: fn(&str, &Value, &Value, &mut Vec<String>),
    found: &mut Vec<String>,
) {
    let entries = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (then, now) = (entries(then), entries(now));
    let before = found.len();
    for new in &now {
        let name_of_new = name(new);
        match then.iter().find(|old| name(old) == name_of_new) {
            Some(old) if old == new => {}
            Some(old) => differ(&format!("{what} {name_of_new}"), old, new, found),
            None => found.push(format!("{what} {name_of_new} is new")),
        }
    }
    let gone = then.iter().filter(|old| !now.iter().any(|new| name(new) == name(old)));
    found.extend(gone.map(|old| format!("{what} {} is gone", name(old))));
    if found.len() == before {
        found.push(format!("order of {what} changed"));
    }
}

fn mount_name(mount: &Value) -> String {
    format!("type={},target={}", text(&mount["type"]), text(&mount["target"]))
}

fn mount(what: &str, then: &Value, now: &Value, found: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (then, now) else { return };
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for field in fields {
        let (was, is) = (&then[field.as_str()], &now[field.as_str()]);
        match field.as_str() {
            _ if was == is => {}
            // Numbers of inputs say nothing; which they are is told of the inputs.
            "input" => found.push(format!("{what}: from= changed")),
            // Its namespace is nothing that anybody has written.
            "id" => found.push(changed(&format!("{what}: id"), &id(was), &id(is))),
            field => found.push(changed(&format!("{what}: {field}"), &text(was), &text(is))),
        }
    }
}

fn id(id: &Value) -> String {
    text(id).trim_start_matches('/').to_owned()
}

fn script_name(script: &Value) -> String {
    text(&script["path"]).rsplit('/').next().unwrap_or_default().to_owned()
}

fn script(what: &str, then: &Value, now: &Value, found: &mut Vec<String>) {
    found.push(changed_text(what, &text(&then["content"]), &text(&now["content"])));
}

/// The sources of a COPY: paths, and files that stand in the Dockerfile.
fn sources(then: &Value, now: &Value, found: &mut Vec<String>) {
    let (old, new): (Vec<&Value>, Vec<&Value>) = (
        then.as_array().into_iter().flatten().collect(),
        now.as_array().into_iter().flatten().collect(),
    );
    let name = |source: &Value| match source["path"].as_str() {
        Some(path) => path.to_owned(),
        None => format!("<<{}", text(&source["name"])),
    };
    let inline = |source: &Value| source["content"].as_str().map(str::to_owned);
    let before = found.len();
    for (old, new) in old.iter().zip(&new).filter(|(old, new)| old != new) {
        match (inline(old), inline(new)) {
            (Some(then), Some(now)) if name(old) == name(new) => {
                found.push(changed_text(
                    &format!("here-document {}", text(&new["name"])),
                    &then,
                    &now,
                ));
            }
            _ if name(old) != name(new) => found.push(changed("source", &name(old), &name(new))),
            _ => {}
        }
    }
    found.extend(
        new.iter().skip(old.len()).map(|new| format!("source {} is new", quoted(&name(new)))),
    );
    found.extend(
        old.iter().skip(new.len()).map(|old| format!("source {} is gone", quoted(&name(old)))),
    );
    if found.len() == before {
        found.push("sources changed".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(then: &Value, now: &Value) -> Vec<String> {
        compare(then, now)
    }

    #[test]
    fn fields_are_told_in_words_of_the_dockerfile() {
        let then = json!({"args": ["/bin/sh", "-c", "make -j2"], "cwd": "/", "network": "default",
            "platform": {"os": "linux", "architecture": "amd64"}, "place": 1});
        let now = json!({"args": ["/bin/sh", "-c", "make -j4"], "cwd": "/src", "user": "app",
            "network": "none", "platform": {"os": "linux", "architecture": "arm64"}, "place": 2});
        assert_eq!(
            said(&then, &now),
            [
                r#"command changed from "make -j2" to "make -j4""#,
                "WORKDIR changed from / to /src",
                "--network changed from default to none",
                "platform changed from linux/amd64 to linux/arm64",
                "USER changed from root to app",
            ]
        );
        let shell = |shell: &str| json!({"args": [shell, "-c", "make"]});
        assert_eq!(
            said(&shell("sh"), &shell("bash")),
            [r#"SHELL changed from "sh -c" to "bash -c""#]
        );
    }

    #[test]
    fn variables_are_told_by_what_they_are_and_secrets_are_not_shown() {
        let then = json!({"env": [["MODE", "a"], ["V", "1"], ["TOKEN", "s3cret"]],
            "arguments": ["V", "TOKEN"]});
        let now = json!({"env": [["MODE", "b"], ["V", "2"], ["TOKEN", "0ther"], ["NEW", "n"]],
            "arguments": ["V", "TOKEN"]});
        let said = said(&then, &now);
        assert_eq!(
            said[..3],
            [
                "ENV MODE changed from a to b".to_owned(),
                "ENV NEW is new: n".to_owned(),
                "ARG TOKEN changed (its value is not shown: it may be a secret)".to_owned(),
            ]
        );
        assert_eq!(said[3], "ARG V changed from 1 to 2");
    }

    #[test]
    fn values_of_secrets_are_not_kept() {
        let mut variable = json!(["API_TOKEN", "hunter2"]);
        hide(&mut variable);
        assert!(!variable.to_string().contains("hunter2") && variable.to_string().contains(HIDDEN));
        let mut variable = json!(["VERSION", "2"]);
        hide(&mut variable);
        assert_eq!(variable, json!(["VERSION", "2"]));
    }

    #[test]
    fn mounts_are_told_by_type_and_place() {
        let cache = |id: &str| json!({"mounts": [{"type": "cache", "target": "/c", "id": id}]});
        assert_eq!(
            said(&cache("/a"), &cache("/b")),
            ["--mount type=cache,target=/c: id changed from a to b"]
        );
        assert_eq!(said(&json!({}), &cache("a")), ["--mount type=cache,target=/c is new"]);
    }

    #[test]
    fn here_documents_are_told_by_the_line() {
        let file = |content: &str| json!({"sources": [{"from": "inline", "name": "EOF", "content": content}]});
        assert_eq!(
            said(&file("a\nb\n"), &file("a\nc\n")),
            ["line 2 of the here-document EOF changed from b to c"]
        );
    }
}
