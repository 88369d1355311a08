//! `build --call=...,format=json`, in the form of BuildKit's frontend.
//!
//! Key by key what BuildKit writes, so that what reads its answers can read ours. The answer of
//! `check` has one key more, `diagnostics`: everything there is to say, with exact places.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bld_dockerfile::lint::Rule;
use bld_dockerfile::{Diagnostic, Severity, Span};
use bld_engine::build::{CheckedBuild, Outline, SourceText, Target};
use serde::Serialize;

use crate::diagnostics::Places;

/// Lines of the only file there is, each as a range of its own.
#[derive(Serialize)]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range<Line>>,
}

#[derive(Serialize)]
struct Range<P> {
    start: P,
    end: P,
}

#[derive(Serialize)]
struct Line {
    line: usize,
}

#[derive(Serialize)]
struct Position {
    line: usize,
    column: usize,
}

impl Location {
    fn lines((first, last): (usize, usize)) -> Self {
        let range = |line| Range { start: Line { line }, end: Line { line } };
        Self { ranges: (first..=last).map(range).collect() }
    }

    fn of(places: &Places<'_>, span: Span) -> Self {
        let [(first, _), (last, _)] = places.range(span);
        Self::lines((first, last))
    }
}

/// The answer of `check`.
#[derive(Serialize)]
pub(crate) struct Check<'c> {
    warnings: Option<Vec<Warning<'c>>>,
    sources: [Source<'c>; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<Error>,
    diagnostics: Vec<Found<'c>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'c> {
    rule_name: &'static str,
    description: &'static str,
    url: String,
    detail: &'c str,
    location: Location,
}

#[derive(Serialize)]
struct Source<'c> {
    filename: &'c str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct Error {
    message: String,
    location: Location,
}

#[derive(Serialize)]
struct Found<'c> {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    message: &'c str,
    range: Range<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// The answer of `check`; `error` is the first error in BuildKit's words.
pub(crate) fn check(checked: &CheckedBuild, error: Option<String>) -> Check<'_> {
    let places = Places::new(&checked.source.text);
    let counted = checked.diagnostics.iter().filter(|found| found.severity == Severity::Warning);
    let warnings: Vec<_> = counted.filter_map(|found| warning(found, &places)).collect();
    let wrong = checked.diagnostics.iter().find(|found| found.is_error());
    Check {
        warnings: (!warnings.is_empty()).then_some(warnings),
        sources: [Source {
            filename: &checked.source.name,
            data: BASE64_STANDARD.encode(&checked.source.text),
            language: "Dockerfile",
        }],
        build_error: error.zip(wrong).map(|(message, wrong)| Error {
            message,
            location: if wrong.span == Span::default() {
                Location { ranges: Vec::new() } // it is about no part of the file
            } else {
                Location::lines(places.lines(wrong))
            },
        }),
        diagnostics: checked.diagnostics.iter().map(|found| diagnostic(found, &places)).collect(),
    }
}

/// A finding of a check; none if no rule is behind it.
fn warning<'c>(found: &'c Diagnostic, places: &Places<'_>) -> Option<Warning<'c>> {
    let rule = found.rule.and_then(Rule::find)?;
    Some(Warning {
        rule_name: rule.name,
        description: rule.description,
        url: rule.url(),
        detail: &found.message,
        location: Location::lines(places.lines(found)),
    })
}

fn diagnostic<'c>(found: &'c Diagnostic, places: &Places<'_>) -> Found<'c> {
    let position = |(line, column)| Position { line, column };
    let [start, end] = places.range(found.span).map(position);
    Found {
        severity: match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Advice => "advice",
        },
        rule: found.rule,
        message: &found.message,
        range: Range { start, end },
        label: found.label.as_deref(),
        help: found.help.as_deref(),
        url: found.rule.and_then(Rule::find).map(Rule::url),
    }
}

/// The answer of `outline`.
#[derive(Serialize)]
pub(crate) struct OutlineDocument<'o> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'o str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount<'o>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mount<'o>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'o> {
    name: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'o str>,
    location: Location,
}

#[derive(Serialize)]
struct Mount<'o> {
    name: &'o str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

/// The answer of `outline`.
pub(crate) fn outline<'o>(source: &SourceText, outline: &'o Outline) -> OutlineDocument<'o> {
    let places = Places::new(&source.text);
    let mounts = |mounts: &'o [bld_engine::build::OutlineMount]| {
        let mount = |mount: &'o bld_engine::build::OutlineMount| Mount {
            name: &mount.name,
            required: mount.required,
            location: Location::of(&places, mount.span),
        };
        mounts.iter().map(mount).collect()
    };
    let args = outline.args.iter().map(|arg| Arg {
        name: &arg.name,
        description: arg.description.as_deref(),
        value: arg.value.as_deref().filter(|value| !value.is_empty()),
        location: Location::of(&places, arg.span),
    });
    OutlineDocument {
        name: outline.name.as_deref(),
        description: outline.description.as_deref(),
        args: args.collect(),
        secrets: mounts(&outline.secrets),
        ssh: mounts(&outline.ssh),
        sources: [BASE64_STANDARD.encode(&source.text)],
    }
}

/// The answer of `targets`.
#[derive(Serialize)]
pub(crate) struct TargetsDocument<'t> {
    targets: Vec<TargetDocument<'t>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct TargetDocument<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'t str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'t str>,
    base: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'t str>,
    location: Location,
}

/// The answer of `targets`.
pub(crate) fn targets<'t>(source: &SourceText, targets: &'t [Target]) -> TargetsDocument<'t> {
    let places = Places::new(&source.text);
    let target = |target: &'t Target| TargetDocument {
        name: target.name.as_deref(),
        default: target.default,
        description: target.description.as_deref(),
        base: &target.base,
        platform: target.platform.as_deref(),
        location: Location::of(&places, target.span),
    };
    TargetsDocument {
        targets: targets.iter().map(target).collect(),
        sources: [BASE64_STANDARD.encode(&source.text)],
    }
}
