//! Checks: habits that build but will surprise somebody. Names and meaning are BuildKit's, but for
//! a few rules of our own, which give advice (see [`rules::Origin`]).
//!
//! [`check`] finds everything that the text alone decides. The rules that need to know the build
//! (the environment a base image brings, the context's ignore file, the platform) are emitted by
//! whoever knows it, with the constructors in [`warn`]; [`RULES`] lists them all.
//!
//! Which rules report is decided by [`CheckOptions`]: the `# check=` directive for the file, and
//! a `# check=skip=...` comment above an instruction for that one.

mod args;
mod directives;
mod install;
mod instructions;
mod json;
mod options;
mod reference;
pub mod rules;
mod secrets;
mod shell;
mod stages;
pub mod warn;

use std::collections::BTreeMap;

pub use options::{CheckOptions, CheckOptionsError};
pub use rules::{Origin, RULES, Rule};
pub use secrets::is_secret_name;

use crate::ast::Dockerfile;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::Expander;

/// Checks `dockerfile`, parsed from `source`, with the options of its own `# check=` directive.
///
/// Warnings of all stages come out, in source order; those of stages that a build doesn't reach
/// can be told by their spans.
pub fn check(dockerfile: &Dockerfile, source: &str) -> Vec<Diagnostic> {
    let directive = dockerfile.directives.check.as_ref().map(|text| text.value.as_str());
    // Options that make no sense are an error of the parser.
    let options = directive.map(CheckOptions::parse).and_then(Result::ok).unwrap_or_default();
    check_with(dockerfile, source, &options)
}

/// Checks `dockerfile`, parsed from `source`, with `options` instead of its own.
pub fn check_with(
    dockerfile: &Dockerfile,
    source: &str,
    options: &CheckOptions,
) -> Vec<Diagnostic> {
    let mut sink = Sink { options, found: Vec::new() };
    for span in &dockerfile.blank_lines {
        sink.push(None, warn::no_empty_continuation(*span));
    }
    directives::check(dockerfile, source, &mut sink);
    stages::check(dockerfile, &mut sink);
    args::check(dockerfile, source, &mut sink);
    instructions::check(dockerfile, &mut sink);
    install::check(dockerfile, source, &mut sink);
    json::check(dockerfile, source, &mut sink);
    secrets::check(dockerfile, &mut sink);
    sink.found.sort_by_key(|diagnostic| diagnostic.span);
    sink.found
}

/// Takes the warnings that are wanted.
struct Sink<'o> {
    options: &'o CheckOptions,
    found: Vec<Diagnostic>,
}

impl Sink<'_> {
    /// `comment` is the one above the instruction concerned.
    fn push(&mut self, comment: Option<&str>, mut warning: Diagnostic) {
        let Some(rule) = warning.rule.filter(|rule| self.options.reports(rule, comment)) else {
            return;
        };
        if self.options.asks_for(rule, comment) {
            warning.severity = Severity::Warning;
        }
        self.found.push(warning);
    }
}

/// The values of the platform arguments in a build that nobody configured.
const PLATFORM_ARGS: [(&str, &str); 11] = [
    ("BUILDPLATFORM", "linux/amd64"),
    ("BUILDOS", "linux"),
    ("BUILDOSVERSION", ""),
    ("BUILDARCH", "amd64"),
    ("BUILDVARIANT", ""),
    ("TARGETPLATFORM", "linux/amd64"),
    ("TARGETOS", "linux"),
    ("TARGETOSVERSION", ""),
    ("TARGETARCH", "amd64"),
    ("TARGETVARIANT", ""),
    ("TARGETSTAGE", "default"),
];

/// The names that `FROM` can use without an `ARG` in front.
pub fn predefined_from_args() -> impl Iterator<Item = &'static str> {
    PLATFORM_ARGS.iter().map(|(name, _)| *name)
}

/// The global arguments as they are when no `--build-arg` is given.
fn default_args(dockerfile: &Dockerfile) -> BTreeMap<String, String> {
    let platform = PLATFORM_ARGS.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let mut values: BTreeMap<String, String> = platform.collect();
    let expander = Expander::new(dockerfile.directives.escape);
    for arg in dockerfile.global_args() {
        let Some(default) = &arg.value else { continue };
        if let Ok(expanded) = expander.word(&default.value, &values) {
            values.insert(arg.name.value.clone(), expanded.text);
        }
    }
    values
}
