//! The untyped layer: a Dockerfile as statements, each a keyword, flags and operands.
//!
//! This is as much as can be said without knowing what an instruction means: logical lines are
//! put together, here-documents read, flags split off, and the operands taken apart in the way
//! that the keyword asks for. Nothing is checked against the instruction; unknown keywords and
//! flags come out as they were written. [`crate::parse`] builds the typed tree from it.

mod directives;
mod flags;
pub(crate) mod heredoc;
mod json;
mod lines;
mod words;

pub use directives::detect_syntax;
pub(crate) use directives::{NAMES as DIRECTIVES, stray as stray_directives};
pub use flags::Flag;

use crate::ast::{Directives, Heredoc, KeyValue};
use crate::diagnostic::Diagnostic;
use crate::keyword::Keyword;
use crate::span::{Span, Spanned};
use json::Array;
use lines::{Joined, Lines, Logical};

/// A Dockerfile taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The parser directives.
    pub directives: Directives,
    /// The statements in order.
    pub statements: Vec<Statement>,
    /// The blank lines inside continued statements, the first one of each.
    pub blank_lines: Vec<Span>,
    /// What is wrong with the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The first word.
    pub keyword: Spanned<String>,
    /// The flags behind it.
    pub flags: Vec<Flag>,
    /// The rest.
    pub operands: Operands,
    /// Where the operands stand.
    pub operands_span: Span,
    /// The here-documents that the operands name, in order.
    pub heredocs: Vec<Heredoc>,
    /// The statement as one line, without here-documents.
    pub text: String,
    /// Everything that belongs to it, here-documents included.
    pub span: Span,
    /// The comment lines directly above, joined by `\n`.
    pub comment: Option<String>,
}

/// The operands of a statement, in the form that its keyword calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operands {
    /// The rest of the line, verbatim and maybe empty.
    Text(Spanned<String>),
    /// Words separated by blanks.
    Words(Vec<Spanned<String>>),
    /// A JSON array of strings.
    Json(Vec<Spanned<String>>),
    /// `key=value` words, or one pair in the old form.
    Pairs(Vec<KeyValue>),
    /// What follows the first word of `HEALTHCHECK`, and that word.
    Test(Spanned<String>, Box<Operands>),
    /// The statement behind `ONBUILD`.
    Statement(Box<Statement>),
    /// Nothing that could be understood; a diagnostic says why.
    Invalid,
}

/// Takes `source` apart.
pub fn read(source: &str) -> Tree {
    let mut lines = Lines::new(source);
    let mut tree = Tree::default();
    tree.directives = directives::read(&mut lines, &mut tree.diagnostics);
    let escape = tree.directives.escape;
    let mut comment = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(text) = line.comment() {
            // An empty comment, like a blank line, cuts what is above off from the statement.
            if text.is_empty() {
                comment.clear();
            } else {
                comment.push(text);
            }
            continue;
        }
        if line.is_blank() {
            comment.clear();
            continue;
        }
        let logical = lines::logical(line, &mut lines, escape);
        tree.blank_lines.extend(logical.blank);
        if logical.joined.text().trim().is_empty() {
            continue;
        }
        let mut reader = Reader { escape, joined: &logical.joined, tree: &mut tree };
        let mut statement = reader.statement(logical.joined.text(), false);
        attach_heredocs(&mut statement, &logical, &mut lines, &mut tree.diagnostics);
        statement.comment = (!comment.is_empty()).then(|| comment.join("\n"));
        statement.span = Span::new(logical.span.start, statement.span.end.max(logical.span.end));
        comment.clear();
        tree.statements.push(statement);
    }
    tree
}

/// Reads the here-documents of `statement`, or of the one behind its `ONBUILD`.
fn attach_heredocs(
    statement: &mut Statement,
    logical: &Logical<'_>,
    lines: &mut Lines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let target = match &mut statement.operands {
        Operands::Statement(inner) => inner,
        _ => &mut *statement,
    };
    let takes = Keyword::of(&target.keyword.value).is_some_and(Keyword::takes_heredocs);
    if !takes || matches!(target.operands, Operands::Json(_)) {
        return;
    }
    let introducers = heredoc::find(logical.joined.text());
    if introducers.is_empty() {
        return;
    }
    target.heredocs = heredoc::bodies(introducers, &logical.joined, lines, diagnostics);
    target.span.end = lines.end();
    statement.span.end = lines.end();
}

/// Takes one logical line apart.
struct Reader<'r, 'a> {
    escape: char,
    joined: &'r Joined<'a>,
    tree: &'r mut Tree,
}

impl Reader<'_, '_> {
    /// `line` is the whole logical line, or what follows `ONBUILD` in it.
    fn statement(&mut self, line: &str, trigger: bool) -> Statement {
        let line = line.trim();
        let (word, rest) = words::first(line);
        let (flags, rest, closed) = flags::split(rest, self.joined, self.escape);
        let rest = rest.trim();
        let operands = match (Keyword::of(word), flags.last()) {
            (_, Some(last)) if !closed => {
                self.tree.diagnostics.push(unclosed(last));
                Operands::Invalid
            }
            // One ONBUILD behind another is wrong, however many there are.
            (None, _) => self.verbatim(rest),
            (Some(Keyword::Onbuild), _) if trigger => self.verbatim(rest),
            (Some(keyword), _) => self.operands(keyword, rest),
        };
        Statement {
            keyword: self.joined.spanned(word),
            flags,
            operands,
            operands_span: self.joined.place(rest),
            heredocs: Vec::new(),
            text: line.to_owned(),
            span: self.joined.place(line),
            comment: None,
        }
    }

    fn operands(&mut self, keyword: Keyword, text: &str) -> Operands {
        match keyword {
            Keyword::From | Keyword::Expose => self.words(text),
            Keyword::Add | Keyword::Copy | Keyword::Volume => self.json_or(text, Self::words),
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
                self.json_or(text, Self::verbatim)
            }
            Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir => {
                self.verbatim(text)
            }
            Keyword::Arg => {
                let words = words::quoted(text, self.escape);
                Operands::Words(words.into_iter().map(|word| self.joined.spanned(word)).collect())
            }
            Keyword::Env | Keyword::Label => self.pairs(keyword, text),
            Keyword::Healthcheck => {
                let length = text.find(char::is_whitespace).unwrap_or(text.len());
                let (kind, command) = text.split_at(length);
                let command = self.json_or(command.trim_start(), Self::verbatim);
                Operands::Test(self.joined.spanned(kind), Box::new(command))
            }
            Keyword::Onbuild if text.is_empty() => self.verbatim(text),
            Keyword::Onbuild => Operands::Statement(Box::new(self.statement(text, true))),
        }
    }

    fn verbatim(&mut self, text: &str) -> Operands {
        Operands::Text(self.joined.spanned(text))
    }

    fn words(&mut self, text: &str) -> Operands {
        Operands::Words(words::plain(text).map(|word| self.joined.spanned(word)).collect())
    }

    /// A JSON array if it is one, else what `fallback` makes of it.
    fn json_or(
        &mut self,
        text: &str,
        fallback: impl FnOnce(&mut Self, &str) -> Operands,
    ) -> Operands {
        match json::array(text, self.joined) {
            Array::Strings(strings) => Operands::Json(strings),
            Array::None => fallback(self, text),
            Array::Mixed(span) => {
                let error = Diagnostic::error("the JSON form takes an array of strings only", span)
                    .with_label("not a string")
                    .with_help("put it in double quotes");
                self.tree.diagnostics.push(error);
                Operands::Invalid
            }
        }
    }

    /// The operands of `ENV` and `LABEL`. A first word without `=` makes it the old form.
    fn pairs(&mut self, keyword: Keyword, text: &str) -> Operands {
        let words = words::quoted(text, self.escape);
        let Some(first) = words.first() else { return Operands::Pairs(Vec::new()) };
        if !first.contains('=') {
            let (key, value) = words::first(text);
            if value.is_empty() {
                let error = Diagnostic::error(
                    format!("{keyword} must have two arguments"),
                    self.joined.place(key),
                );
                let help = format!("write `{keyword} {key}=value`");
                self.tree.diagnostics.push(error.with_label("no value").with_help(help));
                return Operands::Invalid;
            }
            let (key, value) = (self.joined.spanned(key), self.joined.spanned(value));
            return Operands::Pairs(vec![KeyValue { key, value, legacy: true }]);
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                let message =
                    format!("can't find = in `{word}`: it must be of the form name=value");
                let help = "put quotes around a value that holds blanks: `name=\"a b\"`";
                let error = Diagnostic::error(message, self.joined.place(word)).with_help(help);
                self.tree.diagnostics.push(error);
                return Operands::Invalid;
            };
            let (key, value) = (self.joined.spanned(key), self.joined.spanned(value));
            pairs.push(KeyValue { key, value, legacy: false });
        }
        Operands::Pairs(pairs)
    }
}

fn unclosed(flag: &Flag) -> Diagnostic {
    Diagnostic::error(format!("unclosed quote in flag `{}`", flag.name.value), flag.span())
        .with_help("close the quote before the rest of the instruction")
}
