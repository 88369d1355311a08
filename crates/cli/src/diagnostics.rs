//! What is wrong with a Dockerfile, shown in the Dockerfile.
//!
//! Mistakes are shown the way rustc shows them: the line, the exact words underlined, the remedy.
//! A step that failed is shown BuildKit's way: some lines around the instruction, marked with `>>>`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use bld_dockerfile::lint::rules;
use bld_dockerfile::{Diagnostic, LineIndex, Severity, Span};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Widest line of a report.
const WIDTH: usize = 120;

/// Longest piece of a line that an excerpt shows, bytes.
const PIECE: usize = 1000;

/// `diagnostic` as a report on the file `source`, called `name`. One that is about no words of it
/// shows none.
pub(crate) fn render(
    name: &str,
    source: &LineIndex<'_>,
    diagnostic: &Diagnostic,
    colour: bool,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Advice => Level::NOTE.with_name("advice"),
    };
    let mut title = level.primary_title(diagnostic.message.as_str());
    if let Some(rule) = diagnostic.rule {
        title = title.id(rule);
    }
    let mut group = Group::with_title(title);
    if diagnostic.span != Span::default() {
        // The renderer goes through all that it is given: no more than the lines concerned.
        let (first, last) = source.lines(diagnostic.span);
        let (offset, text) = source.text(first, last);
        let end = diagnostic.span.end.saturating_sub(offset).min(text.len());
        let start = diagnostic.span.start.saturating_sub(offset).min(end);
        let mut annotation = AnnotationKind::Primary.span(start..end);
        if let Some(label) = &diagnostic.label {
            annotation = annotation.label(label.as_str());
        }
        let snippet = Snippet::source(text).path(name).line_start(first);
        group = group.element(snippet.annotation(annotation));
    }
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

/// The bytes of `line` that an excerpt shows: all, or those around `at` where there are too many.
fn piece(line: &str, at: usize) -> Range<usize> {
    if line.len() <= PIECE {
        return 0..line.len();
    }
    let start = line.floor_char_boundary(at.saturating_sub(PIECE / 2).min(line.len() - PIECE));
    start..line.floor_char_boundary(start + PIECE)
}

/// What stands in place of the bytes of a line that are not shown.
const LEFT_OUT: &str = "...";

/// The piece `shown` of `line`, marked where something is left out.
fn cut(line: &str, shown: &Range<usize>) -> String {
    let before = if shown.start > 0 { LEFT_OUT } else { "" };
    let behind = if shown.end < line.len() { LEFT_OUT } else { "" };
    format!("{before}{}{behind}", &line[shown.clone()])
}

/// Carets below the bytes `words` of `line`, of which the piece `shown` is shown.
fn underline(line: &str, shown: &Range<usize>, words: &Range<usize>) -> String {
    let before = if shown.start > 0 { " ".repeat(LEFT_OUT.len()) } else { String::new() };
    // Tabs stay tabs, so that both lines reach the same tab stop.
    let blanks = line[shown.start..words.start].chars().map(|c| match c {
        '\t' => "\t".to_owned(),
        c => " ".repeat(c.width().unwrap_or(0)),
    });
    let words = &line[words.start..words.end.min(shown.end)];
    before + &blanks.collect::<String>() + &"^".repeat(words.width().max(1))
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
        let underlined = index.lines(span).0;
        let rule = "-".repeat(20);
        let mut text = format!("{name}:{first}\n{rule}\n");
        for number in from..=to {
            let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
            let line = index.line(number);
            let words = if number == underlined { self.words(number, span) } else { None };
            let shown = piece(line, words.as_ref().map_or(0, |words| words.start));
            let marked = format!("{number:4} | {mark} {}", cut(line, &shown));
            let _infallible = writeln!(text, "{}", marked.trim_end());
            if let Some(words) = words {
                let underline = underline(line, &shown, &words);
                let line = format!("     |     {underline} {}", label.unwrap_or_default());
                let _infallible = writeln!(text, "{}", line.trim_end());
            }
        }
        text.push_str(&rule);
        text.push('\n');
        text
    }

    /// The bytes of line `number` that `span` covers; none if it reaches beyond the line or is all
    /// of it.
    fn words(&self, number: usize, span: Span) -> Option<Range<usize>> {
        let (line, words) = (self.index.line(number), self.source.get(span.range())?);
        let start = span.start.checked_sub(self.index.text(number, number).0)?;
        let words_in_line = start..start + words.len();
        let is_part = words_in_line.end <= line.len() && words.trim() != line.trim();
        is_part.then_some(words_in_line)
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
        let report = render("Dockerfile", &LineIndex::new(source), &diagnostic, false);
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
        let diagnostic = Diagnostic::error("x", Span::new(at, at + 3));
        let report = render("Dockerfile", &LineIndex::new(source), &diagnostic, false);
        insta::assert_snapshot!(report, @r"
        error: x
         --> Dockerfile:2:12
          |
        2 | LABEL    名前=x    b y
          |                    ^^^
        ");
    }

    #[test]
    fn of_long_lines_a_piece_is_shown() {
        let source = format!("FROM a\nENV {} {}b=1 c=2\n", "é=1".repeat(1000), "x=ü ".repeat(1000));
        let at = source.find("b=1").unwrap_or_default();
        let excerpt = Places::new(&source).excerpt("f", (2, 2), Span::new(at, at + 3), None);
        let lines: Vec<&str> = excerpt.lines().collect();
        assert!(lines.iter().all(|line| line.len() < PIECE + 50), "{excerpt}");
        assert!(
            lines[3].starts_with("   2 | >>> ...") && lines[3].ends_with("b=1 c=2"),
            "{excerpt}"
        );
        let before = lines[4].trim_end_matches('^').chars().count();
        assert_eq!(lines[3].chars().skip(before).take(3).collect::<String>(), "b=1");
        assert_eq!(piece("short", 3), 0..5);
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
