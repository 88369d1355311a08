//! What is found on the way.

use std::collections::BTreeSet;

use bld_dockerfile::lint::{CheckOptions, warn};
use bld_dockerfile::{Diagnostic, Dockerfile, Severity, Span, suggest};

use super::scope::Scope;
use crate::args;
use crate::options::LowerOptions;

/// ` (did you mean X?)`, or nothing if nothing is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    suggest(word, known).map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
}

/// Collects diagnostics.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Diagnostic>,
    failed: bool,
    /// Which warnings of the checks are wanted.
    pub(super) checks: CheckOptions,
    /// Where that is asked for.
    asked_at: Span,
    /// What is being lowered.
    place: Place,
    /// Variables without a value for which a near name was looked for.
    guesses: usize,
}

/// A name is compared with all that are known. Whoever has more unknown ones than this has made no
/// slip of the finger.
const MOST_GUESSES: usize = 50;

/// What the findings are about.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The comment above the instruction, which may say that some warnings are not wanted.
    pub(super) comment: Option<String>,
    /// Where to point instead of the spans given, because they point into another text.
    pub(super) instead: Option<Span>,
}

impl Report {
    /// A report that wants what the file, or the build argument in its stead, asks for.
    pub(super) fn new(file: &Dockerfile, options: &LowerOptions) -> Self {
        let mut report = Self::default();
        let given = options.build_args.get(args::CHECK);
        let directive = file.directives.check.as_ref().filter(|_| given.is_none());
        report.asked_at = directive.map_or_else(Span::default, |directive| directive.span);
        let text = given.or(directive.map(|directive| &directive.value));
        match text.map(|text| CheckOptions::parse(text)).transpose() {
            Ok(checks) => report.checks = checks.unwrap_or_default(),
            Err(error) => report.push(Diagnostic::error(error.to_string(), report.asked_at)),
        }
        report
    }

    /// Goes to `place`, and says where it was before.
    pub(super) fn enter(&mut self, place: Place) -> Place {
        std::mem::replace(&mut self.place, place)
    }

    /// Records a finding, unless it is a warning that nobody wants.
    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        let comment = self.place.comment.as_deref();
        if diagnostic.rule.is_some_and(|rule| !self.checks.reports(rule, comment)) {
            return;
        }
        if let Some(span) = self.place.instead {
            diagnostic.span = span;
        }
        self.keep(diagnostic);
    }

    /// Records a finding of which is known that it is wanted.
    pub(super) fn keep(&mut self, diagnostic: Diagnostic) {
        self.failed |= diagnostic.is_error();
        self.found.push(diagnostic);
    }

    /// The value, or none once the error is recorded.
    pub(super) fn take<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Variables that were looked up in vain, unless they are declared arguments without a value.
    pub(super) fn undefined(&mut self, unset: &[String], scope: &Scope, span: Span) {
        for name in unset.iter().filter(|_| !scope.open) {
            if !scope.is_declared(name) && !args::INVISIBLE.contains(&name.as_str()) {
                self.guesses += 1;
                let near = || suggest(name, scope.names());
                let near = if self.guesses <= MOST_GUESSES { near() } else { None };
                self.push(warn::undefined_var(name, near, span));
            }
        }
    }

    /// Makes an error of the warnings that the checks gave, if that is asked for.
    pub(super) fn refuse_warnings(&mut self) {
        let warnings = self.found.iter().filter(|found| found.severity == Severity::Warning);
        let rules: BTreeSet<_> = warnings.filter_map(|found| found.rule).collect();
        if self.checks.error && !rules.is_empty() {
            let rules: Vec<_> = rules.into_iter().collect();
            let message = format!("lint violation found for rules: {}", rules.join(", "));
            self.push(Diagnostic::error(message, self.asked_at));
        }
    }

    /// Whether there are errors.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// All that was found, each once, in source order.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
        self.found.dedup();
        self.found
    }
}
