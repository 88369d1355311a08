//! What is said about a build besides its progress: failures, warnings, checks, the graph.

use std::fmt::Write as _;

use bld_dockerfile::{Diagnostic, LineIndex};
use bld_engine::build::{BuildError, BuildRequest, PlannedBuild, SourceText};
use bld_event::Events;

use crate::diagnostics::{colour, excerpt, render};
use crate::error::{Failure, describe};
use crate::progress::{FailedStep, Summary};
use crate::session::{Outcome, Session};

/// Lines of a failed step's output that are repeated where all of it has been shown before.
const LAST_LINES: usize = 20;

/// The warnings of a build, kept until it is over.
pub(super) struct Warnings {
    source: SourceText,
    warnings: Vec<Diagnostic>,
}

impl Warnings {
    /// The warnings of `planned`.
    pub(super) fn of(planned: &PlannedBuild) -> Self {
        Self { source: planned.source.clone(), warnings: planned.warnings().to_vec() }
    }

    /// As BuildKit lists them, or with `whole` each with its place.
    pub(super) fn render(&self, whole: bool) -> String {
        if self.warnings.is_empty() {
            return String::new();
        }
        if whole {
            return self.reports();
        }
        let count = self.warnings.len();
        let s = if count == 1 { "" } else { "s" };
        let mut text = format!("\n {count} warning{s} found (use --debug to expand):\n");
        let index = LineIndex::new(&self.source.text);
        for warning in &self.warnings {
            let rule = warning.rule.map_or_else(String::new, |rule| format!("{rule}: "));
            let (line, _) = index.line_col(warning.span.start);
            let _infallible = writeln!(text, " - {rule}{} (line {line})", warning.message);
        }
        text
    }

    fn reports(&self) -> String {
        reports(&self.source, self.warnings.iter())
    }
}

fn reports<'a>(source: &SourceText, diagnostics: impl Iterator<Item = &'a Diagnostic>) -> String {
    let colour = colour();
    diagnostics.fold(String::new(), |mut text, diagnostic| {
        let _infallible =
            writeln!(text, "{}", render(&source.name, &source.text, diagnostic, colour));
        text
    })
}

/// Tells why a build failed: the step's output, its place in the Dockerfile, the reason.
pub(super) fn failed(
    session: &Session,
    error: &BuildError,
    summary: &Summary,
    whole: bool,
) -> Failure {
    let mut text = String::new();
    match error {
        BuildError::Dockerfile { source_text, diagnostics } => {
            text.push_str(&reports(source_text, diagnostics.iter()));
        }
        BuildError::Step { source_text, error } => {
            if let Some(step) = summary.failed.iter().find(|step| step.name == error.name) {
                text.push_str(&output(step, whole));
            }
            let index = LineIndex::new(&source_text.text);
            let (first, last) = index.lines(error.span);
            text.push_str(&excerpt(
                &source_text.name,
                &source_text.text,
                first as u32,
                last as u32,
            ));
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
    match error {
        BuildError::Remote { help: Some(help), .. } => failure.with_hint(*help),
        _ => failure,
    }
}

/// The reason in one line, without the step's name, which stands above it.
fn reason(error: &BuildError) -> String {
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

/// `--check`: the warnings of all stages; exit code 1 if there are any.
pub(super) fn check(session: &Session, request: &BuildRequest) -> Outcome {
    let warnings = match session.engine.check_build(request, &Events::none()) {
        Ok((source, warnings)) => Warnings { source, warnings },
        Err(error) => return Err(failed(session, &error, &Summary::default(), true)),
    };
    if warnings.warnings.is_empty() {
        session.say("Check complete, no warnings found.")?;
        return Ok(0);
    }
    let (count, s) = (warnings.warnings.len(), if warnings.warnings.len() == 1 { "" } else { "s" });
    session.print(&format!("{}Check complete, {count} warning{s} found!\n", warnings.reports()))?;
    Ok(1)
}
