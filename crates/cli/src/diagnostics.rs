//! What is wrong with a Dockerfile, shown in the Dockerfile.
//!
//! Mistakes are shown the way rustc shows them: the line, the exact words underlined, the remedy.
//! A step that failed is shown BuildKit's way: some lines around the instruction, marked with `>>>`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use bld_dockerfile::lint::rules;
use bld_dockerfile::{Diagnostic, LineIndex, Severity, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Widest line of a report.
const WIDTH: usize = 120;

/// `diagnostic` as a report on `source`, the file called `name`.
pub(crate) fn render(name: &str, source: &str, diagnostic: &Diagnostic, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Advice => Level::NOTE.with_name("advice"),
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

/// Carets below `words`, which begin at `column` of `line`; none if they reach beyond it or are all
/// of it.
fn underline(line: &str, column: usize, words: &str) -> Option<String> {
    if words.contains('\n') || words.trim() == line.trim() {
        return None;
    }
    // Tabs stay tabs, so that both lines reach the same tab stop.
    let before = line.chars().take(column - 1).map(|c| match c {
        '\t' => "\t".to_owned(),
        c => " ".repeat(c.width().unwrap_or(0)),
    });
    Some(before.collect::<String>() + &"^".repeat(words.width().max(1)))
}

/// Where the instructions of a file are.
pub(crate) struct Places<'s> {
    source: &'s str,
    index: LineIndex<'s>,
    statements: Vec<Span>,
}

impl<'s> Places<'s> {
    /// The places in `source`.
    pub(crate) fn new(source: &'s str) -> Self {
        let statements = bld_dockerfile::syntax::read(source).statements;
        let statements = statements.iter().map(|statement| statement.span).collect();
        Self { source, index: LineIndex::new(source), statements }
    }

    /// First and last line of the instruction that `diagnostic` is about, which is where BuildKit
    /// says that it is.
    pub(crate) fn lines(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let span = diagnostic.span;
        let behind = self.statements.partition_point(|statement| statement.start <= span.start);
        let statement = behind.checked_sub(1).map(|index| self.statements[index]);
        let lines = self
            .index
            .lines(statement.filter(|s| span.start < s.end.max(s.start + 1)).unwrap_or(span));
        // That a line is empty is only noticed at the end of the instruction.
        let late = diagnostic.rule == Some(rules::NO_EMPTY_CONTINUATION.name);
        if late { (lines.1, lines.1) } else { lines }
    }

    /// The lines `first..=last` with some around them, marked. What `span` covers is
    /// underlined, if it is a part of one of them, with `label` beside it.
    pub(crate) fn excerpt(
        &self,
        name: &str,
        (first, last): (usize, usize),
        span: Span,
        label: Option<&str>,
    ) -> String {
        let index = &self.index;
        // A single line gets more company than one that brings its own.
        let around = if first == last { 2 } else { 1 };
        let from = first.saturating_sub(around).max(1);
        let to = (last + around).min(index.len());
        let (underlined, column) = index.line_col(span.start);
        let rule = "-".repeat(20);
        let mut text = format!("{name}:{first}\n{rule}\n");
        for line in from..=to {
            let mark = if (first..=last).contains(&line) { ">>>" } else { "   " };
            let shown = format!("{line:4} | {mark} {}", index.line(line));
            let _infallible = writeln!(text, "{}", shown.trim_end());
            if line == underlined
                && let Some(underline) = underline(
                    index.line(line),
                    column,
                    self.source.get(span.range()).unwrap_or_default(),
                )
            {
                let line = format!("     |     {underline} {}", label.unwrap_or_default());
                let _infallible = writeln!(text, "{}", line.trim_end());
            }
        }
        text.push_str(&rule);
        text.push('\n');
        text
    }

    /// Line and column, from 1, of the first character of `span` and of the one behind it.
    pub(crate) fn range(&self, span: Span) -> [(usize, usize); 2] {
        [self.index.line_col(span.start), self.index.line_col(span.end)]
    }
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
    fn underlines_keep_below_wide_characters_and_tabs() {
        let source = "FROM a\nLABEL\t名前=x\tb y\n";
        let at = source.find('b').unwrap_or_default();
        let excerpt =
            Places::new(source).excerpt("Dockerfile", (2, 2), Span::new(at, at + 3), Some("here"));
        assert!(
            excerpt.contains("   2 | >>> LABEL\t名前=x\tb y\n     |          \t      \t^^^ here\n"),
            "{excerpt}"
        );
        let report =
            render("Dockerfile", source, &Diagnostic::error("x", Span::new(at, at + 3)), false);
        insta::assert_snapshot!(report, @r"
        error: x
         --> Dockerfile:2:12
          |
        2 | LABEL    名前=x    b y
          |                    ^^^
        ");
    }

    #[test]
    fn a_failed_step_is_marked_as_buildkit_does() {
        let source = "FROM busybox\nCOPY a b\nRUN exit 42\n";
        assert_eq!(
            Places::new(source).excerpt("Dockerfile", (3, 3), Span::new(22, 33), None),
            "Dockerfile:3\n--------------------\n   1 |     FROM busybox\n   2 |     COPY a b\n   \
             3 | >>> RUN exit 42\n--------------------\n"
        );
    }
}
