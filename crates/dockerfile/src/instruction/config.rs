//! The instructions that only describe the image: `ARG`, `ENV`, `LABEL`, `EXPOSE`, `VOLUME`,
//! `SHELL` and `STOPSIGNAL`.

use super::Lower;
use crate::ast::{ArgPair, KeyValue};
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
use crate::suggest::suggest;
use crate::syntax::{Operands, Statement};
use crate::value::{PortRange, is_signal, signal_names};

impl Lower<'_> {
    pub(super) fn arg(&mut self, statement: &Statement) -> Option<Vec<ArgPair>> {
        self.no_flags(statement)?;
        let mut pairs = Vec::new();
        for word in self.list(statement)? {
            let pair = match word.value.find('=') {
                Some(at) => {
                    let (name, value) = (&word.value[..at], &word.value[at + 1..]);
                    ArgPair {
                        name: part(&word, Span::new(0, at), name),
                        value: Some(part(&word, Span::new(at + 1, word.value.len()), value)),
                    }
                }
                None => ArgPair { name: word, value: None },
            };
            if pair.name.value.is_empty() {
                self.blank_name(statement, statement.operands_span);
                return None;
            }
            // A default is only expanded when no build argument is given, so it may be anything.
            pairs.push(pair);
        }
        Some(pairs)
    }

    /// The operands of `ENV` and `LABEL`.
    pub(super) fn pairs(&mut self, statement: &Statement) -> Option<Vec<KeyValue>> {
        self.no_flags(statement)?;
        let Operands::Pairs(pairs) = &statement.operands else { return None };
        if pairs.is_empty() {
            self.missing(statement, "at least one argument");
            return None;
        }
        if let Some(pair) = pairs.iter().find(|pair| pair.key.value.is_empty()) {
            self.blank_name(statement, pair.key.span.to(pair.value.span));
            return None;
        }
        self.check_words(pairs.iter().flat_map(|pair| [&pair.key, &pair.value]));
        Some(pairs.clone())
    }

    fn blank_name(&mut self, statement: &Statement, span: Span) {
        let keyword = statement.keyword.value.to_ascii_uppercase();
        self.error(format!("{keyword} names can not be blank"), span, "write `name=value`");
    }

    pub(super) fn expose(&mut self, statement: &Statement) -> Option<Vec<Spanned<String>>> {
        self.no_flags(statement)?;
        let words = self.list(statement)?;
        self.check_words(&words);
        for word in &words {
            let port = self.constant(word).map(|text| text.parse::<PortRange>());
            if let Some(Err(error)) = port {
                self.deferred.push(Diagnostic::error(error.to_string(), word.span));
            }
        }
        Some(words)
    }

    pub(super) fn volume(&mut self, statement: &Statement) -> Option<Vec<Spanned<String>>> {
        self.no_flags(statement)?;
        let paths: Vec<_> = self
            .list(statement)?
            .into_iter()
            .map(|path| path.map(|path| path.trim().to_owned()))
            .collect();
        if let Some(empty) = paths.iter().find(|path| path.value.is_empty()) {
            self.error(
                "VOLUME specified can not be an empty string",
                empty.span,
                "name a path or remove the empty one",
            );
            return None;
        }
        self.check_words(&paths);
        Some(paths)
    }

    pub(super) fn shell(&mut self, statement: &Statement) -> Option<Vec<String>> {
        self.no_flags(statement)?;
        match &statement.operands {
            Operands::Json(words) if !words.is_empty() => {
                Some(words.iter().map(|word| word.value.clone()).collect())
            }
            Operands::Text(text) if !text.value.is_empty() => {
                let words: Vec<_> =
                    text.value.split_whitespace().map(|w| format!("{w:?}")).collect();
                self.error(
                    "SHELL requires the arguments to be in JSON form",
                    text.span,
                    format!("write `SHELL [{}]`", words.join(", ")),
                );
                None
            }
            _ => {
                self.missing(statement, "at least one argument");
                None
            }
        }
    }

    pub(super) fn stopsignal(&mut self, statement: &Statement) -> Option<Spanned<String>> {
        let signal = self.single(statement)?;
        if let Some(text) = self.constant(&signal)
            && !is_signal(&text)
        {
            let names: Vec<String> = signal_names().collect();
            let help = match suggest(&text, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean {name}?"),
                None => "use a name such as SIGTERM or a number from 1 to 64".to_owned(),
            };
            self.defer(format!("invalid signal: {text}"), signal.span, help);
        }
        Some(signal)
    }
}

/// A part of a word, with its place.
fn part(word: &Spanned<String>, inner: Span, text: &str) -> Spanned<String> {
    Spanned::new(text.to_owned(), word.within(inner))
}
