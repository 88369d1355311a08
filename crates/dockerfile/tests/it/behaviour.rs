//! The shared behaviour cases, as far as syntax, expansion and checks decide them.

use bld_dockerfile::expand::Expander;
use bld_dockerfile::ignore::Patterns;
use bld_dockerfile::value::PortRange;
use bld_dockerfile::{Diagnostic, InstructionKind, KeyValue, lint, parse};
use serde_json::Value;

use crate::common::{json, testdata};

/// Cases that fail, but not because of anything in the text.
const FAIL_LATER: [&str; 9] = [
    "from-blank-error",
    "stage-target-typo",
    "stage-later-reference-error",
    "platform-bad-error",
    "exp-required-unset-error",
    "copy-dir-onto-file-error",
    "copy-parents-missing-error",
    "run-security-insecure-needs-entitlement",
    "secret-missing-required-error",
];

fn cases() -> Vec<Value> {
    let all = json(&testdata("behaviour/cases.json"));
    let cases = all["cases"].as_array().cloned().unwrap_or_default();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    cases
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn said(diagnostics: &[Diagnostic]) -> String {
    let parts = diagnostics.iter().flat_map(|d| {
        [d.rule.map(str::to_owned), Some(d.message.clone()), d.label.clone(), d.help.clone()]
    });
    parts.flatten().collect::<Vec<_>>().join("\n").to_lowercase()
}

#[test]
fn each_case_is_accepted_or_refused_with_the_right_words() {
    for case in cases() {
        let (id, source) = (text(&case, "id"), text(&case, "dockerfile"));
        let parsed = parse(source);
        let mut diagnostics = [parsed.diagnostics.clone(), parsed.deferred.clone()].concat();
        let check = case["area"] == "check";
        if check {
            diagnostics.extend(lint::check(&parsed.dockerfile, source));
        }
        let fails = case["expect"]["exit"] != 0 && !FAIL_LATER.contains(&id);
        if case["area"] == "dockerignore" || id.starts_with("run-") && !id.contains("bad-value") {
            assert!(parsed.is_ok(), "{id}: {:?}", parsed.diagnostics);
            continue;
        }
        let found = diagnostics.iter().any(|diagnostic| check || diagnostic.is_error());
        assert_eq!(found, fails, "{id}:\n{source}\n{diagnostics:#?}");
        if fails {
            let said = said(&diagnostics);
            for word in case["expect"]["stderr_contains"].as_array().into_iter().flatten() {
                let word = word.as_str().unwrap_or_default().to_lowercase();
                assert!(said.contains(&word), "{id}: {word:?} is not in {said:?}");
            }
        }
    }
}

#[test]
fn metadata_expands_to_what_the_cases_expect() {
    let mut seen = 0;
    for case in cases() {
        let (id, source) = (text(&case, "id"), text(&case, "dockerfile"));
        let config = &case["expect"]["config"];
        if config.as_object().is_none_or(serde_json::Map::is_empty) || case["flags"].is_array() {
            continue;
        }
        let parsed = parse(source);
        let actual = evaluate(&parsed.dockerfile);
        for key in ["Env", "Labels"] {
            for (name, value) in config[key].as_object().into_iter().flatten() {
                assert_eq!(&actual[key][name], value, "{id}: {name}");
                seen += 1;
            }
        }
        for key in ["User", "StopSignal", "ExposedPorts", "Volumes"] {
            if let Some(value) = config.get(key).filter(|value| !value.is_null()) {
                assert_eq!(&actual[key], value, "{id}: {key}");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "only {seen} values");
}

/// The part of an image config that follows from the text, all stages taken as one.
fn evaluate(dockerfile: &bld_dockerfile::Dockerfile) -> Value {
    let expander = Expander::new(dockerfile.directives.escape);
    let mut env = std::collections::BTreeMap::new();
    let mut config = serde_json::json!({});
    let instructions = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    for instruction in instructions {
        let before = env.clone();
        let word = |text: &str| {
            let expanded = expander.word(text, &before);
            expanded.map_or_else(|error| format!("<{error}>"), |expanded| expanded.text)
        };
        let pairs = |pairs: &[KeyValue]| -> Vec<(String, String)> {
            pairs.iter().map(|p| (word(&p.key.value), word(&p.value.value))).collect()
        };
        match &instruction.kind {
            InstructionKind::Env(list) => {
                for (key, value) in pairs(list) {
                    config["Env"][&key] = Value::from(value.clone());
                    env.insert(key, value);
                }
            }
            InstructionKind::Label(list) => {
                for (key, value) in pairs(list) {
                    config["Labels"][&key] = Value::from(value);
                }
            }
            InstructionKind::Arg(args) => {
                for arg in args {
                    if let Some(value) = &arg.value {
                        env.insert(arg.name.value.clone(), word(&value.value));
                    }
                }
            }
            InstructionKind::User(user) => config["User"] = Value::from(word(&user.value)),
            InstructionKind::Stopsignal(signal) => {
                config["StopSignal"] = Value::from(word(&signal.value));
            }
            InstructionKind::Volume(paths) => {
                for path in paths {
                    config["Volumes"][word(&path.value)] = serde_json::json!({});
                }
            }
            InstructionKind::Expose(ports) => {
                let words = ports.iter().flat_map(|port| expander.words(&port.value, &before));
                for port in words.flatten().filter_map(|port| port.parse::<PortRange>().ok()) {
                    for entry in port.entries() {
                        config["ExposedPorts"][entry] = serde_json::json!({});
                    }
                }
            }
            _ => {}
        }
    }
    config
}

#[test]
fn here_documents_have_the_content_that_the_cases_expect() {
    let mut seen = 0;
    for case in cases().iter().filter(|case| case["area"] == "heredoc") {
        let parsed = parse(text(case, "dockerfile"));
        let mut env = std::collections::BTreeMap::new();
        for instruction in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            let (sources, dest) = match &instruction.kind {
                InstructionKind::Arg(args) => {
                    for arg in args {
                        let value = arg.value.as_ref().map(|value| value.value.clone());
                        env.insert(arg.name.value.clone(), value.unwrap_or_default());
                    }
                    continue;
                }
                InstructionKind::Copy(copy) => (&copy.sources, &copy.dest.value),
                InstructionKind::Add(add) => (&add.sources, &add.dest.value),
                _ => continue,
            };
            for source in sources {
                let bld_dockerfile::Source::Heredoc(heredoc) = source else { continue };
                let body = heredoc.body();
                let body = if heredoc.expand {
                    Expander::heredoc(&body, &env).map(|e| e.text).unwrap_or_default()
                } else {
                    body.into_owned()
                };
                let path = match dest.strip_suffix('/') {
                    Some(dir) => format!("{dir}/{}", heredoc.name),
                    None => dest.clone(),
                };
                let expected = &case["expect"]["files"][&path]["content"];
                assert_eq!(expected.as_str(), Some(body.as_str()), "{}: {path}", case["id"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 8, "only {seen} documents");
}

#[test]
fn ignore_files_exclude_what_the_cases_expect() {
    let mut seen = 0;
    for case in cases().iter().filter(|case| case["area"] == "dockerignore") {
        let files = &case["context_files"];
        let text = files.get("Dockerfile.dockerignore").or_else(|| files.get(".dockerignore"));
        let patterns = Patterns::parse(text.and_then(Value::as_str).unwrap_or_default());
        if case["expect"]["exit"] != 0 {
            let error = patterns.map(|_| ()).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains('!')), "{}", case["id"]);
            continue;
        }
        let patterns = patterns.unwrap_or_else(|error| panic!("{}: {error}", case["id"]));
        for (path, file) in case["expect"]["files"].as_object().into_iter().flatten() {
            let path = path.trim_start_matches('/');
            assert_eq!(patterns.matches(path), file["absent"] == true, "{}: {path}", case["id"]);
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} paths");
}
