//! From physical to logical lines: continuations joined, comments taken out, places remembered.

use std::borrow::Cow;

use crate::span::{Span, Spanned};

/// Walks through the physical lines of a source.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    source: &'a str,
    at: usize,
}

/// A physical line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// The text without the line break.
    pub(super) text: &'a str,
    /// Its offset in the source.
    pub(super) start: usize,
    /// The text with the line break.
    pub(super) whole: &'a str,
}

impl<'a> Line<'a> {
    /// The place of the line without the line break.
    pub(super) fn span(&self) -> Span {
        Span::new(self.start, self.start + self.text.len())
    }

    /// The text behind the `#` if the line is a comment.
    pub(super) fn comment(&self) -> Option<&'a str> {
        self.text.trim_start().strip_prefix('#').map(str::trim)
    }

    pub(super) fn is_blank(&self) -> bool {
        self.text.trim_start().is_empty()
    }
}

impl<'a> Lines<'a> {
    /// Starts behind the byte order mark, if there is one.
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, at: if source.starts_with('\u{feff}') { 3 } else { 0 } }
    }

    /// The offset of the next line.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The end of the lines taken so far, without the last line break.
    pub(super) fn end(&self) -> usize {
        self.source[..self.at].trim_end_matches(['\r', '\n']).len()
    }

    /// The number of `line`, from 1. Takes as long as it is far down.
    pub(super) fn number_of(&self, line: &Line<'_>) -> usize {
        self.source[..line.start].matches('\n').count() + 1
    }

    /// Looks at the next line without taking it.
    pub(super) fn peek(&self) -> Option<Line<'a>> {
        self.clone().next()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = &self.source[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        let whole = rest.split_inclusive('\n').next().unwrap_or(rest);
        self.at += whole.len();
        Some(Line { text: whole.trim_end_matches(['\r', '\n']), start, whole })
    }
}

/// An instruction as one line, and where every part of it was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined<'a> {
    text: Cow<'a, str>,
    /// For each piece its offset in the text and in the source, ascending.
    pieces: Vec<(usize, usize)>,
}

impl<'a> Joined<'a> {
    fn push(&mut self, piece: &'a str, start: usize) {
        self.pieces.push((self.text.len(), start));
        if self.text.is_empty() {
            self.text = Cow::Borrowed(piece);
        } else {
            self.text.to_mut().push_str(piece);
        }
    }

    /// The line.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the bytes `inner` of the line were written.
    pub(super) fn span(&self, inner: Span) -> Span {
        let start = self.at(inner.start);
        // Through the last byte and not the one behind it, which may be on the next line.
        let end = if inner.is_empty() { start } else { self.at(inner.end - 1) + 1 };
        Span::new(start, end)
    }

    /// Where `part`, a slice of the line, was written.
    pub(super) fn place(&self, part: &str) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let start = start.min(self.text.len().saturating_sub(part.len()));
        self.span(Span::new(start, start + part.len()))
    }

    /// `part`, a slice of the line, with its place.
    pub(super) fn spanned(&self, part: &str) -> Spanned<String> {
        Spanned::new(part.to_owned(), self.place(part))
    }

    fn at(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|(joined, _)| *joined <= offset);
        match after.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some((joined, source)) => source + (offset - joined),
            None => offset,
        }
    }
}

/// A logical line.
#[derive(Debug, Clone, Default)]
pub(super) struct Logical<'a> {
    /// The instruction.
    pub(super) joined: Joined<'a>,
    /// From its first character to the end of its last physical line.
    pub(super) span: Span,
    /// The first blank line inside it.
    pub(super) blank: Option<Span>,
}

/// Takes the lines of the instruction that begins with `first`.
///
/// A line goes on when it ends in the escape character, blanks behind it aside, unless that
/// character is itself escaped. The line break vanishes; the blanks at the start of the next line
/// stay. Comment lines in between are dropped, and so are blank lines, which count as a mistake.
pub(super) fn logical<'a>(first: Line<'a>, lines: &mut Lines<'a>, escape: char) -> Logical<'a> {
    let mut logical = Logical::default();
    let text = first.text.trim_start();
    let start = first.start + (first.text.len() - text.len());
    logical.span = Span::new(start, first.span().end);
    let (piece, mut goes_on) = strip_continuation(text, escape);
    logical.joined.push(piece, start);
    while goes_on {
        let Some(line) = lines.next() else { break };
        if line.comment().is_some() {
            continue;
        }
        if line.is_blank() {
            logical.blank.get_or_insert(line.span());
            continue;
        }
        let piece;
        (piece, goes_on) = strip_continuation(line.text, escape);
        logical.joined.push(piece, line.start);
        logical.span.end = line.span().end;
    }
    logical
}

/// The line without its continuation character, and whether it had one.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(source: &str, escape: char) -> (String, Span, Option<Span>) {
        let mut lines = Lines::new(source);
        let first = lines.next().unwrap_or(Line { text: "", start: 0, whole: "" });
        let logical = logical(first, &mut lines, escape);
        (logical.joined.text().to_owned(), logical.span, logical.blank)
    }

    #[test]
    fn continued_lines_are_joined() {
        assert_eq!(join("RUN a \\\n  b\\  \nc\nd", '\\').0, "RUN a   bc");
        assert_eq!(join("RUN a `\r\n b\r\n", '`').0, "RUN a  b");
        assert_eq!(join("RUN a \\", '\\').0, "RUN a ");
        assert_eq!(join("RUN a \\\\\nb", '\\').0, "RUN a \\\\");
        assert_eq!(join("RUN \\\n # note\n\n\\\n b", '\\').0, "RUN  b");
    }

    #[test]
    fn blank_lines_are_noted() {
        let (_, span, blank) = join("RUN a \\\n\n\n b\nnext", '\\');
        assert_eq!((span, blank), (Span::new(0, 12), Some(Span::at(8))));
    }

    #[test]
    fn every_part_knows_its_place() {
        let source = "  RUN one \\\n# note\n two\\\nthree";
        let mut lines = Lines::new(source);
        let first = lines.next().unwrap_or(Line { text: "", start: 0, whole: "" });
        let joined = logical(first, &mut lines, '\\').joined;
        assert_eq!(joined.text(), "RUN one  twothree");
        for word in ["RUN", "one", "two", "three"] {
            let at = joined.text().find(word).unwrap_or(0);
            assert_eq!(&source[joined.place(&joined.text()[at..at + word.len()]).range()], word);
        }
        let across = &joined.text()[9..];
        assert_eq!(&source[joined.place(across).range()], "two\\\nthree");
    }
}
