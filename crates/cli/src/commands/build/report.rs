//! What is said about a build besides its progress: failures, warnings, checks, the graph.

use std::fmt::Write as _;

use bld_dockerfile::lint::Rule;
use bld_dockerfile::{Diagnostic, LineIndex, Severity, Span};
use bld_engine::build::{BuildError, PlannedBuild, SourceText};
use bld_event::{EventKind, Events, VertexId};

use super::blame::blame;
use crate::diagnostics::{Places, colour, render};
use crate::error::{Failure, describe, no_space};
use crate::progress::{FailedStep, Summary};
use crate::session::Session;

/// Lines of a failed step's output that are repeated where all of it has been shown before.
const LAST_LINES: usize = 20;

/// What is worth a look in a build, kept until it is over.
pub(super) struct Warnings {
    source: SourceText,
    warnings: Vec<Diagnostic>,
}

impl Warnings {
    /// The warnings of `planned`.
    pub(super) fn of(planned: &PlannedBuild) -> Self {
        Self { source: planned.source.clone(), warnings: planned.warnings() }
    }

    /// As BuildKit lists them, or with `whole` each with its place.
    pub(super) fn render(&self, whole: bool) -> String {
        if self.warnings.is_empty() {
            return String::new();
        }
        if whole { self.reports() } else { self.list("use --debug to expand") }
    }

    /// As BuildKit lists them; `more` says how to see them whole.
    fn list(&self, more: &str) -> String {
        let places = Places::new(&self.source.text);
        let list = |title: &str, severity| {
            let wanted = self.warnings.iter().filter(|found| found.severity == severity);
            wanted.fold(format!("\n {title} ({more}):\n"), |mut text, found| {
                let _infallible = writeln!(text, " - {}", summary(found, &places));
                text
            })
        };
        let count = |severity| self.warnings.iter().filter(|w| w.severity == severity).count();
        let mut text = match count(Severity::Warning) {
            0 => String::new(),
            1 => list("1 warning found", Severity::Warning),
            many => list(&format!("{many} warnings found"), Severity::Warning),
        };
        if count(Severity::Advice) > 0 {
            text += &list("Advice", Severity::Advice);
        }
        text
    }

    /// Tells the readers of `events` of all that BuildKit would warn of, as about `vertex`.
    pub(super) fn emit(&self, vertex: VertexId, events: &Events) {
        let places = Places::new(&self.source.text);
        for found in self.warnings.iter().filter(|found| found.severity == Severity::Warning) {
            let url = found.rule.and_then(Rule::find).map(Rule::url);
            events.emit(vertex, EventKind::Warning { message: summary(found, &places), url });
        }
    }

    fn reports(&self) -> String {
        reports(&self.source, self.warnings.iter())
    }
}

/// A warning in one line, as BuildKit has it.
fn summary(found: &Diagnostic, places: &Places<'_>) -> String {
    let rule = found.rule.map_or_else(String::new, |rule| format!("{rule}: "));
    let place = match places.lines(found) {
        _ if found.span == Span::default() => String::new(),
        (line, _) => format!(" (line {line})"),
    };
    format!("{rule}{}{place}", found.message)
}

/// How many reports are shown: nobody reads more.
const MOST_REPORTS: usize = 100;

/// Each of `diagnostics` with its place in `source`.
pub(super) fn reports<'a>(
    source: &SourceText,
    mut diagnostics: impl Iterator<Item = &'a Diagnostic>,
) -> String {
    let (colour, index) = (colour(), LineIndex::new(&source.text));
    let mut text = String::new();
    for diagnostic in diagnostics.by_ref().take(MOST_REPORTS) {
        let _infallible = writeln!(text, "{}", render(&source.name, &index, diagnostic, colour));
    }
    match diagnostics.count() {
        0 => {}
        more => {
            let _infallible = writeln!(text, "... and {more} more: see --call=check,format=json\n");
        }
    }
    text
}

/// Tells why a build failed: the step's output, its place in the Dockerfile, the reason.
pub(super) fn failed(
    session: &Session,
    error: &BuildError,
    summary: &Summary,
    whole: bool,
) -> Failure {
    let mut text = String::new();
    let mut hint = None;
    match error {
        BuildError::Dockerfile { source_text, diagnostics } => {
            let (errors, warnings): (Vec<_>, Vec<_>) =
                diagnostics.iter().cloned().partition(Diagnostic::is_error);
            text.push_str(&reports(source_text, errors.iter()));
            let warnings = Warnings { source: source_text.clone(), warnings };
            text.push_str(warnings.list("use --check to expand").trim_start_matches('\n'));
        }
        BuildError::Step { source_text, error } => {
            let failed = |step: &&FailedStep| step.name == error.name && !step.log.is_empty();
            if let Some(step) = summary.failed.iter().find(failed) {
                text.push_str(&output(step, whole));
            }
            let lines = LineIndex::new(&source_text.text).lines(error.span);
            let (words, help) = blame(&source_text.text, error);
            hint = help;
            let places = Places::new(&source_text.text);
            text.push_str(&places.excerpt(&source_text.name, lines, words, None));
            if let Some(log) = &error.log {
                let _infallible = writeln!(text, "full log: {}", log.display());
            }
            let states =
                [("what the step left", error.left), ("what was there before it", error.before)];
            for (what, id) in states {
                if let Some(id) = id {
                    let _infallible = writeln!(text, "{what}: bld run -it {}", id.short());
                }
            }
        }
        _ => {}
    }
    session.tell_if_any(&text);
    let failure = Failure::new(format!("failed to build: failed to solve: {}", reason(error)));
    if let BuildError::Remote { help: Some(help), .. } = error {
        hint = Some((*help).to_owned());
    }
    let full = session.engine.is_full_for(error).map(|mount| no_space(&mount));
    hint.into_iter().chain(full).fold(failure, Failure::with_hint)
}

/// The reason in one line, without the step's name, which stands above it.
pub(super) fn reason(error: &BuildError) -> String {
    match error {
        BuildError::Step { error, .. } => describe(&error.cause),
        error => describe(error),
    }
}

/// A failed step's output between rules, as BuildKit repeats it.
fn output(step: &FailedStep, whole: bool) -> String {
    let rule = "------\n";
    let skip = if whole { 0 } else { step.log.len().saturating_sub(LAST_LINES) };
    let mut text = format!("{rule} > {}:\n", step.name.replace('\n', " "));
    let before = step.dropped + skip;
    if before > 0 {
        let place = if whole { "in" } else { "above, and in" };
        let _infallible = writeln!(text, "... {before} lines before this are {place} the full log");
    }
    for line in &step.log[skip..] {
        let _infallible = writeln!(text, "{:.3} {}", line.after.as_secs_f64(), line.text);
    }
    text.push_str(rule);
    text
}
