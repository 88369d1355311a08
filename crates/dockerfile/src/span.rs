//! Where something stands in the source: byte spans, and the lines they fall on.

use std::ops::Range;

/// A half-open range of bytes in the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset just behind the last byte.
    pub end: usize,
}

impl Span {
    /// The span from `start` up to, not including, `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The empty span at `offset`.
    pub const fn at(offset: usize) -> Self {
        Self { start: offset, end: offset }
    }

    /// The number of bytes covered.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether no byte is covered.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The span as a range, for slicing.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value together with the place it was written at.
///
/// The span covers the source bytes as written, so it also includes quotes, and the line breaks of
/// a word that was continued on the next line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Attaches `span` to `value`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Changes the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

impl Spanned<String> {
    /// The value as a string slice.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Where the part `inner` of the value (in bytes of it) was written.
    ///
    /// Exact as long as the value is what the source says; where quotes were taken off or a line
    /// was continued in between, it is the place of the whole value.
    pub fn within(&self, inner: Span) -> Span {
        if self.value.len() == self.span.len() && inner.end <= self.value.len() {
            Span::new(self.span.start + inner.start, self.span.start + inner.end)
        } else {
            self.span
        }
    }
}

/// The line starts of one source text: turns offsets into line and column.
#[derive(Debug, Clone)]
pub struct LineIndex<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Indexes `source`.
    pub fn new(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(i, _)| i + 1));
        Self { source, starts: starts.collect() }
    }

    /// Line and column of `offset`, both counted from 1, the column in characters.
    ///
    /// An offset behind the end counts as the end.
    pub fn line_col(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.source.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line - 1];
        let column = self.source.as_bytes()[start..offset]
            .iter()
            .filter(|byte| !matches!(byte, 0x80..=0xbf)) // continuation bytes of UTF-8 add no column
            .count();
        (line, column + 1)
    }

    /// First and last line of `span`, counted from 1.
    pub fn lines(&self, span: Span) -> (usize, usize) {
        let last = span.end.saturating_sub(1).max(span.start);
        (self.line_col(span.start).0, self.line_col(last).0)
    }

    /// The text of line `line` (counted from 1) without its line break; empty behind the end.
    pub fn line(&self, line: usize) -> &'a str {
        let Some(&start) = line.checked_sub(1).and_then(|index| self.starts.get(index)) else {
            return "";
        };
        let end = self.starts.get(line).copied().unwrap_or(self.source.len());
        self.source[start..end].trim_end_matches(['\n', '\r'])
    }

    /// The lines `first..=last` (counted from 1) with their line breaks, and the offset at which they
    /// begin; what is behind the end is empty.
    pub fn text(&self, first: usize, last: usize) -> (usize, &'a str) {
        let start = |line: usize| self.starts.get(line).copied().unwrap_or(self.source.len());
        let from = start(first.saturating_sub(1));
        (from, &self.source[from..start(last).max(from)])
    }

    /// How many lines there are; a final line break opens no further line.
    pub fn len(&self) -> usize {
        self.starts.len() - usize::from(self.source.is_empty() || self.source.ends_with('\n'))
    }

    /// Whether the source has no line at all.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let index = LineIndex::new("ab\n\u{e9}x\r\n\nlast");
        assert_eq!(index.line_col(0), (1, 1));
        assert_eq!(index.line_col(2), (1, 3));
        assert_eq!(index.line_col(5), (2, 2));
        assert_eq!(index.line_col(usize::MAX), (4, 5));
        assert_eq!(index.line(2), "\u{e9}x");
        assert_eq!(index.line(0), "");
        assert_eq!(index.line(9), "");
        assert_eq!(index.len(), 4);
        assert_eq!(index.lines(Span::new(0, 3)), (1, 1));
        assert_eq!(index.lines(Span::new(0, 4)), (1, 2));
        assert_eq!(index.text(2, 3), (3, "\u{e9}x\r\n\n"));
        assert_eq!(index.text(4, 9), (9, "last"));
        assert_eq!(index.text(9, 9), (13, ""));
    }

    #[test]
    fn an_empty_source_has_no_lines() {
        let index = LineIndex::new("");
        assert!(index.is_empty());
        assert_eq!(index.len(), 0);
        assert_eq!(index.line_col(0), (1, 1));
    }
}
