//! What is found on the way.

use bld_dockerfile::{Diagnostic, Span, suggest};

use super::scope::Scope;
use crate::rules;

/// Collects diagnostics.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Diagnostic>,
    failed: bool,
    /// Where to point instead of the spans given: while instructions are lowered that don't stand
    /// in the source.
    pub(super) instead: Option<Span>,
}

impl Report {
    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        if let Some(span) = self.instead {
            diagnostic.span = span;
        }
        self.failed |= diagnostic.is_error();
        self.found.push(diagnostic);
    }

    pub(super) fn warn(&mut self, rule: &'static str, message: String, span: Span) {
        self.push(Diagnostic::warning(rule, message, span));
    }

    /// The value, or none once the error is recorded.
    pub(super) fn take<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Variables that were looked up in vain, unless they are declared arguments without a value.
    pub(super) fn undefined(&mut self, unset: &[String], scope: &Scope, span: Span) {
        for name in unset {
            if scope.is_declared(name) || rules::STEERING_ARGS.contains(&name.as_str()) {
                continue;
            }
            let mut message = format!("Usage of undefined variable '${name}'");
            if let Some(near) = suggest(name, scope.names()) {
                message.push_str(&format!(" (did you mean ${near}?)"));
            }
            self.warn(rules::UNDEFINED_VAR, message, span);
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
