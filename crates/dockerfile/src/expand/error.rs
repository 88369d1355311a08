//! What can go wrong when a word is expanded.

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};

/// A word that can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    pub kind: ExpandErrorKind,
    /// Where, in bytes of the word.
    pub span: Span,
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandErrorKind {
    /// A quote is opened and not closed.
    #[error("unexpected end of statement while looking for matching {}", quote_name(*.0))]
    UnclosedQuote(char),
    /// A `${` is not closed.
    #[error("missing `}}` in substitution")]
    UnclosedBrace,
    /// What follows `${` is no name.
    #[error("bad substitution")]
    BadSubstitution,
    /// What follows the name is no known modifier.
    #[error("unsupported modifier `{0}` in substitution")]
    UnsupportedModifier(String),
    /// `${v/p` without the second slash.
    #[error("missing second `/` in substitution")]
    MissingSlash,
    /// A backslash in a pattern stands before a character that needs none.
    #[error("invalid escape `{0}` in the pattern of a substitution")]
    InvalidEscape(String),
    /// Substitutions lie in one another too deep.
    #[error("substitutions nested deeper than {0} levels")]
    TooDeep(usize),
    /// The text has become longer than anything could use.
    #[error("the text becomes longer than {} MiB", .0 >> 20)]
    TooLong(usize),
    /// `${v?m}` or `${v:?m}` was not satisfied.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message the author gave, or a standard one.
        message: String,
    },
}

fn quote_name(quote: char) -> &'static str {
    if quote == '"' { "double-quote" } else { "single-quote" }
}

impl ExpandErrorKind {
    pub(super) fn at(self, span: Span) -> ExpandError {
        ExpandError { kind: self, span }
    }

    fn help(&self) -> String {
        match self {
            Self::UnclosedQuote(quote) => {
                format!("close the quote, or write `\\{quote}` for a literal {quote}")
            }
            Self::UnclosedBrace | Self::MissingSlash => {
                "close the substitution, as in `${name}` or `${name/pattern/text}`".into()
            }
            Self::BadSubstitution => "write `${name}`, or `\\$` for a literal dollar sign".into(),
            Self::UnsupportedModifier(_) => {
                "use one of `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`".into()
            }
            Self::InvalidEscape(_) => "only `\\*` `\\?` `\\\\` `\\/` and `\\}` are escapes".into(),
            Self::TooLong(_) => "look for values that contain one another again and again".into(),
            Self::TooDeep(_) => "split the value over several variables".into(),
            Self::Required { name, .. } => {
                format!("set it with `--build-arg {name}=...` or a default: `ARG {name}=...`")
            }
        }
    }
}

impl ExpandError {
    /// The error as a diagnostic about `word`, which is the text that was expanded.
    pub fn diagnostic(&self, word: &Spanned<String>) -> Diagnostic {
        Diagnostic::error(
            format!("failed to expand `{}`: {}", word.value, self.kind),
            word.within(self.span),
        )
        .with_help(self.kind.help())
    }
}
