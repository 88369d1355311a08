//! `--check`: what is wrong with a Dockerfile and what is worth a look, in BuildKit's form with the
//! exact words underlined and the remedy added.

use std::fmt::Write as _;

use bld_dockerfile::lint::Rule;
use bld_dockerfile::{Diagnostic, Severity};
use bld_engine::build::CheckedBuild;

use super::call::say_json;
use super::report::reports;
use crate::diagnostics::Places;
use crate::documents::build as documents;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Prints what was found; exit code 1 if there are warnings or errors.
pub(super) fn print(session: &Session, checked: &CheckedBuild, json: bool) -> Outcome {
    let error = first_error(checked);
    if json {
        say_json(session, &documents::check(checked, error.clone()))?;
    } else {
        session.print(&text(checked))?;
    }
    if let Some(message) = error {
        let errors = checked.diagnostics.iter().filter(|found| found.is_error());
        session.tell_if_any(&reports(&checked.source, errors));
        return Err(Failure::new(message));
    }
    Ok(u8::from(count(checked) > 0))
}

/// Whether the exit code says it. What no rule is behind, BuildKit's frontend does not say either.
fn counts(found: &Diagnostic) -> bool {
    found.severity == Severity::Warning && found.rule.is_some()
}

fn count(checked: &CheckedBuild) -> usize {
    checked.diagnostics.iter().filter(|found| counts(found)).count()
}

/// The first error in BuildKit's words.
fn first_error(checked: &CheckedBuild) -> Option<String> {
    let error = checked.diagnostics.iter().find(|found| found.is_error())?;
    Some(if checked.well_formed {
        error.message.clone()
    } else {
        let (line, _) = Places::new(&checked.source.text).lines(error);
        format!("dockerfile parse error on line {line}: {}", error.message)
    })
}

/// All but the errors, advice last: it is not what was counted.
fn text(checked: &CheckedBuild) -> String {
    let mut text = match count(checked) {
        0 if checked.diagnostics.iter().any(Diagnostic::is_error) => String::new(),
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        many => format!("Check complete, {many} warnings have been found!\n"),
    };
    let places = Places::new(&checked.source.text);
    let mut found: Vec<_> = checked.diagnostics.iter().filter(|found| !found.is_error()).collect();
    found.sort_by_key(|found| (!counts(found), places.lines(found).0));
    for found in found {
        text += &block(checked, &places, found);
    }
    text
}

fn block(checked: &CheckedBuild, places: &Places<'_>, found: &Diagnostic) -> String {
    let word = if counts(found) { "WARNING" } else { "ADVICE" };
    let mut text = format!("\n{word}:");
    if let Some(rule) = found.rule.and_then(Rule::find) {
        let _infallible = write!(text, " {} - {}", rule.name, rule.url());
    }
    let _infallible = writeln!(text, "\n{}", found.message);
    let name = &checked.source.name;
    text += &places.excerpt(name, places.lines(found), found.span, found.label.as_deref());
    if let Some(help) = &found.help {
        let _infallible = writeln!(text, "help: {help}");
    }
    text
}
