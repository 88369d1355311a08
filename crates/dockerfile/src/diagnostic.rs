//! What the parser and the checks have to say about a Dockerfile.

use crate::span::Span;

/// How much a [`Diagnostic`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a look, and no more than that: it never makes anything fail.
    Advice,
    /// Worth a look; the build goes on unless warnings were made errors.
    Warning,
    /// The Dockerfile can't be built as it is.
    Error,
}

/// One finding, tied to the words that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the build can go on.
    pub severity: Severity,
    /// Name of the check that found it, such as `StageNameCasing`; none for syntax errors.
    pub rule: Option<&'static str>,
    /// What is wrong, as one sentence without a final full stop.
    pub message: String,
    /// The words to underline.
    pub span: Span,
    /// A short remark to print beside the underline.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            rule: None,
            message: message.into(),
            span,
            label: None,
            help: None,
        }
    }

    /// A warning of the check `rule` at `span`.
    pub fn warning(rule: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Warning,
            rule: Some(rule),
            message: message.into(),
            span,
            label: None,
            help: None,
        }
    }

    /// Adds the remark beside the underline.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether the build can't go on.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
