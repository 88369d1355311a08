//! What is wrong with a Dockerfile, shown in the Dockerfile.
//!
//! Mistakes are shown the way rustc shows them: the line, the exact words underlined, the remedy.
//! A step that failed is shown BuildKit's way: some lines around the instruction, marked with `>>>`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use bld_dockerfile::{Diagnostic, LineIndex, Severity};

/// Widest line of a report.
const WIDTH: usize = 120;

/// `diagnostic` as a report on `source`, the file called `name`.
pub(crate) fn render(name: &str, source: &str, diagnostic: &Diagnostic, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut title = level.primary_title(diagnostic.message.as_str());
    if let Some(rule) = diagnostic.rule {
        title = title.id(rule);
    }
    let end = diagnostic.span.end.min(source.len());
    let start = diagnostic.span.start.min(end);
    let mut annotation = AnnotationKind::Primary.span(start..end);
    if let Some(label) = &diagnostic.label {
        annotation = annotation.label(label.as_str());
    }
    let mut group =
        title.element(Snippet::source(source).path(name).line_start(1).annotation(annotation));
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.term_width(WIDTH).render(&[group]) + "\n"
}

/// Whether reports on standard error may have colours.
pub(crate) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The lines `first..=last` of `source` with some around them, marked.
pub(crate) fn excerpt(name: &str, source: &str, first: u32, last: u32) -> String {
    let index = LineIndex::new(source);
    // A single line gets more company than one that brings its own.
    let around = if first == last { 4 } else { 2 };
    let (first, last) = (first as usize, last as usize);
    let from = first.saturating_sub(around).max(1);
    let to = (last + around).min(index.len());
    let rule = "-".repeat(20);
    let mut text = format!("{name}:{first}\n{rule}\n");
    for line in from..=to {
        let mark = if (first..=last).contains(&line) { ">>>" } else { "   " };
        let shown = format!("{line:4} | {mark} {}", index.line(line));
        let _infallible = writeln!(text, "{}", shown.trim_end());
    }
    text.push_str(&rule);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use bld_dockerfile::Span;

    use super::*;

    #[test]
    fn the_exact_words_are_underlined() {
        let source = "FROM busybox\nRUNN true\n";
        let diagnostic = Diagnostic::error("unknown instruction: RUNN", Span::new(13, 17))
            .with_label("no such instruction")
            .with_help("did you mean RUN?");
        let report = render("Dockerfile", source, &diagnostic, false);
        insta::assert_snapshot!(report, @r"
        error: unknown instruction: RUNN
         --> Dockerfile:2:1
          |
        2 | RUNN true
          | ^^^^ no such instruction
          |
          = help: did you mean RUN?
        ");
    }

    #[test]
    fn a_failed_step_is_marked_as_buildkit_does() {
        let source = "FROM busybox\nCOPY a b\nRUN exit 42\n";
        assert_eq!(
            excerpt("Dockerfile", source, 3, 3),
            "Dockerfile:3\n--------------------\n   1 |     FROM busybox\n   2 |     COPY a b\n   \
             3 | >>> RUN exit 42\n--------------------\n"
        );
    }
}
