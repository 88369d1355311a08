//! From untyped statements to typed instructions.
//!
//! Everything that the text alone decides is checked here. A value that holds a variable is left
//! to whoever expands it, who finds the same functions in [`crate::value`] and [`crate::mount`].
//!
//! What is wrong with the form of an instruction is an error at once. What is wrong with a value,
//! such as a port that is none, only matters once the stage is built: it is deferred, see
//! [`crate::Parsed::deferred`], and the instruction kept.

mod config;
mod files;
mod flags;
mod from;
mod healthcheck;
mod run;

use crate::ast::{Command, Instruction, InstructionKind, Onbuild};
use crate::diagnostic::Diagnostic;
use crate::expand::Expander;
use crate::keyword::Keyword;
use crate::span::{Span, Spanned};
use crate::suggest::suggest;
use crate::syntax::{Operands, Statement};

/// Turns statements into instructions, collecting what is wrong with them.
pub(crate) struct Lower<'d> {
    pub(crate) escape: char,
    pub(crate) diagnostics: &'d mut Vec<Diagnostic>,
    pub(crate) deferred: &'d mut Vec<Diagnostic>,
}

impl Lower<'_> {
    /// The instruction, unless something is wrong with it.
    pub(crate) fn instruction(&mut self, statement: &Statement) -> Option<Instruction> {
        let kind = self.kind(statement)?;
        Some(Instruction {
            kind,
            span: statement.span,
            text: statement.text.clone(),
            keyword: statement.keyword.clone(),
            comment: statement.comment.clone(),
        })
    }

    fn kind(&mut self, statement: &Statement) -> Option<InstructionKind> {
        let Some(keyword) = Keyword::of(&statement.keyword.value) else {
            self.unknown(statement);
            return None;
        };
        if statement.operands == Operands::Invalid {
            return None; // the reader has said why
        }
        match keyword {
            Keyword::Add => self.add(statement).map(InstructionKind::Add),
            Keyword::Arg => self.arg(statement).map(InstructionKind::Arg),
            Keyword::Cmd => self.command(statement).map(InstructionKind::Cmd),
            Keyword::Copy => self.copy(statement).map(InstructionKind::Copy),
            Keyword::Entrypoint => self.command(statement).map(InstructionKind::Entrypoint),
            Keyword::Env => self.pairs(statement).map(InstructionKind::Env),
            Keyword::Expose => self.expose(statement).map(InstructionKind::Expose),
            Keyword::Healthcheck => self.healthcheck(statement).map(InstructionKind::Healthcheck),
            Keyword::Label => self.pairs(statement).map(InstructionKind::Label),
            Keyword::Maintainer => self.single(statement).map(InstructionKind::Maintainer),
            Keyword::Onbuild => self.onbuild(statement).map(InstructionKind::Onbuild),
            Keyword::Run => self.run(statement).map(InstructionKind::Run),
            Keyword::Shell => self.shell(statement).map(InstructionKind::Shell),
            Keyword::Stopsignal => self.stopsignal(statement).map(InstructionKind::Stopsignal),
            Keyword::User => self.single(statement).map(InstructionKind::User),
            Keyword::Volume => self.volume(statement).map(InstructionKind::Volume),
            Keyword::Workdir => self.single(statement).map(InstructionKind::Workdir),
            Keyword::From => None, // opens a stage, see `Lower::from`
        }
    }

    fn unknown(&mut self, statement: &Statement) {
        let word = &statement.keyword.value;
        let error =
            Diagnostic::error(format!("unknown instruction: {word}"), statement.keyword.span);
        let error = match suggest(word, Keyword::ALL.iter().map(|keyword| keyword.name())) {
            Some(name) => error.with_help(format!("did you mean {name}?")),
            // Hardly anybody writes keywords in lower case, and most commands are.
            None if *word == word.to_lowercase() => error.with_help(format!(
                "the line above ends its instruction: if this belongs to it, end it with `{}`",
                self.escape
            )),
            None => error.with_help("an instruction begins with one of FROM, RUN, COPY, ENV, ..."),
        };
        self.diagnostics.push(error);
    }

    fn onbuild(&mut self, statement: &Statement) -> Option<Onbuild> {
        self.no_flags(statement)?;
        let Operands::Statement(inner) = &statement.operands else {
            self.missing(statement, "at least one argument");
            return None;
        };
        match Keyword::of(&inner.keyword.value) {
            Some(Keyword::Onbuild) => {
                self.diagnostics.push(
                    Diagnostic::error(
                        "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
                        inner.keyword.span,
                    )
                    .with_help(
                        "a trigger runs in the child only; write the inner instruction alone",
                    ),
                );
                return None;
            }
            Some(keyword @ (Keyword::From | Keyword::Maintainer)) => {
                let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
                self.diagnostics.push(Diagnostic::error(message, inner.keyword.span));
                return None;
            }
            _ => {}
        }
        let mut text = inner.text.clone();
        for heredoc in &inner.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        let instruction = Box::new(self.instruction(inner)?);
        Some(Onbuild { text, instruction })
    }

    /// The operands of `CMD` and `ENTRYPOINT`.
    fn command(&mut self, statement: &Statement) -> Option<Command> {
        self.no_flags(statement)?;
        command(&statement.operands)
    }

    /// The one operand of an instruction that takes exactly one.
    fn single(&mut self, statement: &Statement) -> Option<Spanned<String>> {
        self.no_flags(statement)?;
        match &statement.operands {
            Operands::Text(text) if !text.value.is_empty() => {
                if Keyword::of(&statement.keyword.value) != Some(Keyword::Maintainer) {
                    self.check_words([text]);
                }
                Some(text.clone())
            }
            _ => {
                self.missing(statement, "exactly one argument");
                None
            }
        }
    }

    /// The words of a list, in whichever form; none, with an error, when there are none.
    fn list(&mut self, statement: &Statement) -> Option<Vec<Spanned<String>>> {
        match &statement.operands {
            Operands::Words(words) | Operands::Json(words) if !words.is_empty() => {
                Some(words.clone())
            }
            _ => {
                self.missing(statement, "at least one argument");
                None
            }
        }
    }

    fn missing(&mut self, statement: &Statement, what: &str) {
        let keyword = statement.keyword.value.to_ascii_uppercase();
        let error = Diagnostic::error(format!("{keyword} requires {what}"), statement.keyword.span);
        self.diagnostics.push(error.with_label("nothing follows"));
    }

    fn error(&mut self, message: impl Into<String>, span: Span, help: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(message, span).with_help(help));
    }

    fn defer(&mut self, message: impl Into<String>, span: Span, help: impl Into<String>) {
        self.deferred.push(Diagnostic::error(message, span).with_help(help));
    }

    /// The text of `word` when no variable is in it, quotes removed; none when it must wait for
    /// its expansion or can't be expanded at all.
    fn constant(&self, word: &Spanned<String>) -> Option<String> {
        Expander::new(self.escape).parse(&word.value).ok()?.constant()
    }

    /// Parses words that will be expanded later, for the sake of their syntax errors.
    fn check_words<'w>(&mut self, words: impl IntoIterator<Item = &'w Spanned<String>>) {
        let expander = Expander::new(self.escape);
        let errors = words.into_iter().filter_map(|word| {
            expander.parse(&word.value).err().map(|error| error.diagnostic(word))
        });
        self.deferred.extend(errors);
    }
}

/// A command in the form it was written in.
fn command(operands: &Operands) -> Option<Command> {
    match operands {
        Operands::Text(text) => Some(Command::Shell(text.value.clone())),
        Operands::Json(words) => {
            Some(Command::Exec(words.iter().map(|word| word.value.clone()).collect()))
        }
        _ => None,
    }
}
