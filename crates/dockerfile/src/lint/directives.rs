//! Comments that were meant to be directives, and names in them that mean nothing.

use super::{CheckOptions, RULES, Sink, warn};
use crate::ast::Dockerfile;
use crate::span::Span;
use crate::suggest::suggest;
use crate::syntax;

pub(super) fn check(dockerfile: &Dockerfile, source: &str, sink: &mut Sink<'_>) {
    for (name, top) in syntax::stray_directives(source) {
        let known = syntax::DIRECTIVES;
        if top && let Some(meant) = suggest(&name.value, known.into_iter()) {
            sink.push(None, warn::directive_misspelt(&name.value, meant, name.span));
        }
        // `# check=` means something above an instruction as well.
        let lower = name.value.to_ascii_lowercase();
        if !top && matches!(lower.as_str(), "escape" | "syntax") {
            sink.push(None, warn::directive_misplaced(&lower, name.span));
        }
    }
    let Some(check) = &dockerfile.directives.check else { return };
    let Ok(options) = CheckOptions::parse(&check.value) else { return };
    for name in options.named() {
        if let Some(meant) = suggest(name, RULES.iter().map(|rule| rule.name)) {
            let at = check.value.find(name).unwrap_or_default();
            let span = check.within(Span::new(at, at + name.len()));
            sink.push(None, warn::unknown_rule(name, meant, span));
        }
    }
}
