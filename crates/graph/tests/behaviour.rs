//! The behaviour cases, as far as they can be decided without running anything: what fails, what
//! the configuration and the history of the image are.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use bld_dockerfile::{Diagnostic, LineIndex};
use bld_graph::{LowerOptions, Plan};
use serde_json::Value;
use support::{Images, listed, options};

/// Cases that fail only once files, secrets or results of steps are looked at.
const FAIL_LATER: &[&str] = &[
    "mount-cache-source-missing",
    "mount-cache-source-stays-inside",
    "copy-dir-onto-file-error",
    "copy-parents-missing-error",
    "ignore-lone-bang-error",
    "secret-missing-required-error",
];

/// The cases; none: they are not part of this checkout.
fn cases() -> Option<Vec<Value>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/behaviour");
    let mut all = Vec::new();
    for file in ["cases.json", "more.json"] {
        let cases: Value = serde_json::from_slice(&std::fs::read(dir.join(file)).ok()?).unwrap();
        all.extend(cases["cases"].as_array().unwrap().iter().cloned());
    }
    Some(all)
}

#[test]
fn cases_come_out_as_expected() {
    let mut failures = Vec::new();
    for case in cases().unwrap_or_default() {
        let id = case["id"].as_str().unwrap();
        if let Err(why) = run(&case, id) {
            failures.push(format!("{id}: {why}\n{}", case["dockerfile"].as_str().unwrap()));
        }
    }
    assert!(failures.is_empty(), "{} cases fail\n\n{}", failures.len(), failures.join("\n\n"));
}

fn run(case: &Value, id: &str) -> Result<(), String> {
    let source = case["dockerfile"].as_str().unwrap();
    let flags: Vec<&str> = case["flags"].as_array().into_iter().flatten().map(text).collect();
    let expect = &case["expect"];
    let fails = expect["exit"] != 0;
    if flags.iter().any(|flag| flag.starts_with("--build-context")) {
        return Ok(()); // What a context is, only the engine knows.
    }
    let options = options_of(case, &flags);
    if flags.contains(&"--check") {
        return check_findings(&check(source, &options), expect);
    }
    match lower(source, &options) {
        Ok(plan) if fails => {
            let later = FAIL_LATER.contains(&id);
            if later { Ok(()) } else { Err(format!("succeeds: {:?}", support::names(&plan))) }
        }
        Ok(plan) => {
            check_config(&plan, &expect["config"])?;
            check_created(&plan, expect)?;
            check_history(&plan, &expect["history"])
        }
        Err(found) if fails => {
            let printed = printed(source, &found).to_lowercase();
            let wanted = expect["stderr_contains"].as_array().into_iter().flatten().map(text);
            match wanted.into_iter().find(|word| !printed.contains(&word.to_lowercase())) {
                Some(word) => Err(format!("{word:?} is not in\n{printed}")),
                None => Ok(()),
            }
        }
        Err(found) => Err(listed(source, &found)),
    }
}

fn check(source: &str, options: &LowerOptions) -> Vec<Diagnostic> {
    let parsed = bld_dockerfile::parse(source);
    bld_graph::check(&parsed.dockerfile, source, options, &mut Images::busybox())
}

/// Compares the rules that were found with those expected, which is none for exit status 0.
fn check_findings(found: &[Diagnostic], expect: &Value) -> Result<(), String> {
    let rules: BTreeSet<&str> = found.iter().filter_map(|found| found.rule).collect();
    let wanted = expect["stderr_contains"].as_array().into_iter().flatten().map(text).collect();
    if rules == wanted { Ok(()) } else { Err(format!("finds {rules:?}, not {wanted:?}")) }
}

/// What the user gets to read: the findings and the lines they are about.
fn printed(source: &str, found: &[Diagnostic]) -> String {
    let index = LineIndex::new(source);
    let lines = found.iter().map(|found| index.line(index.line_col(found.span.start).0));
    format!("{}{}", listed(source, found), lines.collect::<Vec<_>>().join("\n"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn options_of(case: &Value, flags: &[&str]) -> LowerOptions {
    let mut options = options();
    options.target = case["target"].as_str().map(str::to_owned);
    for (name, value) in case["build_args"].as_object().into_iter().flatten() {
        options.build_args.insert(name.clone(), text(value).to_owned());
    }
    for flag in flags.windows(2).filter(|flag| flag[0] == "--label") {
        let (name, value) = flag[1].split_once('=').unwrap();
        options.labels.insert(name.to_owned(), value.to_owned());
    }
    options
}

fn lower(source: &str, options: &LowerOptions) -> Result<Plan, Vec<Diagnostic>> {
    let parsed = bld_dockerfile::parse(source);
    if !parsed.is_ok() {
        return Err(parsed.diagnostics);
    }
    bld_graph::lower(&parsed.dockerfile, source, options, &mut Images::busybox())
}

/// Compares `config`: of `Env` and `Labels` only the named entries, of the rest the whole value,
/// null standing for absent or empty.
fn check_config(plan: &Plan, expected: &Value) -> Result<(), String> {
    let config: Value = serde_json::from_slice(&plan.config.to_bytes()).unwrap();
    let config = &config["config"];
    for (key, wanted) in expected.as_object().into_iter().flatten() {
        let have = match key.as_str() {
            "Env" => {
                plan.config.config.env.iter().filter_map(|pair| pair.split_once('=')).collect()
            }
            _ => config[key].clone(),
        };
        match wanted.as_object().filter(|_| matches!(key.as_str(), "Env" | "Labels")) {
            Some(entries) => {
                for (name, wanted) in entries {
                    if have.get(name).unwrap_or(&Value::Null) != wanted {
                        return Err(format!("{key}.{name} is {}, not {wanted}", have[name]));
                    }
                }
            }
            None if have != *wanted => return Err(format!("{key} is {have}, not {wanted}")),
            None => {}
        }
    }
    Ok(())
}

fn check_created(plan: &Plan, expect: &Value) -> Result<(), String> {
    if let Some(author) = expect["author"].as_str()
        && plan.config.author.as_deref() != Some(author)
    {
        return Err(format!("the author is {:?}", plan.config.author));
    }
    let Some(created) = expect["created"].as_str() else { return Ok(()) };
    let entries = plan.history.iter().map(|step| &step.entry.created);
    match std::iter::once(&plan.config.created)
        .chain(entries)
        .find(|c| c.as_deref() != Some(created))
    {
        Some(other) => Err(format!("created is {other:?}")),
        None => Ok(()),
    }
}

fn check_history(plan: &Plan, expected: &Value) -> Result<(), String> {
    let expected: Vec<_> = expected.as_array().into_iter().flatten().collect();
    let history = &plan.config.history;
    let last = &history[history.len().saturating_sub(expected.len())..];
    for (entry, wanted) in last.iter().zip(expected) {
        let has = entry.created_by.as_ref().unwrap().contains(text(&wanted["has"]));
        if !has || entry.empty_layer != wanted["empty"].as_bool().unwrap_or(false) {
            return Err(format!("history has {entry:?}, not {wanted}"));
        }
    }
    Ok(())
}
