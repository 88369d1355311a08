//! Puts instructions together into stages.

use crate::ast::{ArgPair, Dockerfile, Instruction, InstructionKind, Stage};
use crate::diagnostic::Diagnostic;
use crate::instruction::Lower;
use crate::keyword::Keyword;
use crate::lint::CheckOptions;
use crate::span::Span;
use crate::syntax::{self, Statement, Tree};

/// A parsed Dockerfile and everything there is to say about its syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What could be understood. Instructions that could not are missing from it.
    pub dockerfile: Dockerfile,
    /// What is wrong, in source order. With an error among them the build can't go on.
    pub diagnostics: Vec<Diagnostic>,
    /// What is wrong with single values, in source order: errors that only count if the stage they
    /// are in is built. Whoever expands these values finds them again; they are here for those who
    /// want to hear of everything at once.
    pub deferred: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether the Dockerfile can be built as far as its form goes.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses a Dockerfile. Never stops at the first error.
pub fn parse(source: &str) -> Parsed {
    let Tree { directives, statements, blank_lines, mut diagnostics } = syntax::read(source);
    if let Some(check) = &directives.check
        && let Err(error) = CheckOptions::parse(&check.value)
    {
        diagnostics.push(Diagnostic::error(error.to_string(), check.span));
    }
    let mut deferred = Vec::new();
    let mut lower =
        Lower { escape: directives.escape, diagnostics: &mut diagnostics, deferred: &mut deferred };
    let mut dockerfile = Dockerfile { directives, blank_lines, ..Dockerfile::default() };
    let mut opened = false; // also by a FROM that makes no sense
    let mut orphan = false;
    for statement in &statements {
        let keyword = Keyword::of(&statement.keyword.value);
        if keyword == Some(Keyword::From) {
            opened = true;
            dockerfile.stages.extend(lower.stage(statement));
            continue;
        }
        let instruction = lower.instruction(statement);
        if opened {
            // Behind a FROM that makes no sense this is the wrong stage, but no stage of a
            // Dockerfile with errors is ever built.
            if let Some(stage) = dockerfile.stages.last_mut() {
                stage.instructions.extend(instruction);
            }
        } else if keyword == Some(Keyword::Arg) {
            dockerfile.global_args.extend(instruction);
        } else if keyword.is_some() && !orphan {
            orphan = true;
            lower.diagnostics.push(no_stage(statement));
        }
    }
    if !opened && !orphan {
        diagnostics.extend(nothing_to_build(source, &statements));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    deferred.sort_by_key(|diagnostic| diagnostic.span);
    Parsed { dockerfile, diagnostics, deferred }
}

/// Parses a Dockerfile that may hold bytes which are not UTF-8.
///
/// Such bytes are read as U+FFFD with a warning; spans then refer to the text that
/// [`String::from_utf8_lossy`] makes of `bytes`.
pub fn parse_bytes(bytes: &[u8]) -> Parsed {
    let source = String::from_utf8_lossy(bytes);
    let mut parsed = parse(&source);
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let mut warning =
            Diagnostic::error("the Dockerfile is not valid UTF-8", Span::new(at, at + 3))
                .with_label("first invalid byte")
                .with_help("save the file as UTF-8; invalid bytes were replaced");
        warning.severity = crate::Severity::Warning;
        parsed.diagnostics.insert(0, warning);
    }
    parsed
}

/// Parses one instruction, such as a trigger that a base image brings along.
///
/// The escape character is a backslash. `FROM` is not an instruction in this sense.
pub fn parse_instruction(text: &str) -> (Option<Instruction>, Vec<Diagnostic>) {
    let Tree { statements, mut diagnostics, .. } = syntax::read(text);
    let mut deferred = Vec::new();
    let mut lower = Lower { escape: '\\', diagnostics: &mut diagnostics, deferred: &mut deferred };
    let mut instructions = statements.iter().filter_map(|statement| {
        if Keyword::of(&statement.keyword.value) == Some(Keyword::From) {
            let error = Diagnostic::error("FROM isn't allowed here", statement.keyword.span);
            lower.diagnostics.push(error);
        }
        lower.instruction(statement)
    });
    let first = instructions.next();
    let more = instructions.next();
    drop(instructions);
    diagnostics.append(&mut deferred); // it is about to be carried out
    if let Some(more) = more {
        diagnostics.push(Diagnostic::error("expected a single instruction", more.span));
    } else if statements.is_empty() {
        diagnostics.push(Diagnostic::error("expected an instruction", Span::new(0, text.len())));
    }
    (first, diagnostics)
}

impl Lower<'_> {
    fn stage(&mut self, statement: &Statement) -> Option<Stage> {
        Some(Stage {
            from: self.from(statement)?,
            instructions: Vec::new(),
            span: statement.span,
            text: statement.text.clone(),
            keyword: statement.keyword.clone(),
            comment: statement.comment.clone(),
        })
    }
}

fn no_stage(statement: &Statement) -> Diagnostic {
    let keyword = statement.keyword.value.to_ascii_uppercase();
    Diagnostic::error(
        format!("no build stage in current context: {keyword} comes before the first FROM"),
        statement.keyword.span,
    )
    .with_help("begin with `FROM image`; only ARG may stand before it")
}

/// A file without FROM: empty, without instructions, or with `ARG` only.
fn nothing_to_build(source: &str, statements: &[Statement]) -> Option<Diagnostic> {
    let known = |statement: &Statement| Keyword::of(&statement.keyword.value).is_some();
    let error = if source.trim().is_empty() {
        Diagnostic::error("the Dockerfile is empty", Span::at(0))
    } else if let Some(last) = statements.last() {
        if !statements.iter().any(known) {
            return None; // there are errors enough
        }
        Diagnostic::error("the Dockerfile contains no stages to build", last.span)
            .with_label("only ARG so far")
    } else {
        Diagnostic::error("the Dockerfile is a file with no instructions", Span::at(0))
    };
    Some(error.with_help("add a stage: `FROM image`"))
}

impl Dockerfile {
    /// The arguments declared before the first `FROM`, in order.
    pub fn global_args(&self) -> impl Iterator<Item = &ArgPair> {
        let args = self.global_args.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(args) => Some(args),
            _ => None,
        });
        args.flatten()
    }
}

impl Stage {
    /// The name of the stage in lower case, as others refer to it.
    pub fn name(&self) -> Option<String> {
        self.from.name.as_ref().map(|name| name.value.to_ascii_lowercase())
    }
}

/// The description of `name` in the comment above its definition: `# name description`.
pub fn description<'c>(comment: &'c str, name: &str) -> Option<&'c str> {
    comment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

impl InstructionKind {
    /// The keyword of the instruction.
    pub fn keyword(&self) -> Keyword {
        match self {
            Self::Arg(_) => Keyword::Arg,
            Self::Env(_) => Keyword::Env,
            Self::Label(_) => Keyword::Label,
            Self::Run(_) => Keyword::Run,
            Self::Copy(_) => Keyword::Copy,
            Self::Add(_) => Keyword::Add,
            Self::Workdir(_) => Keyword::Workdir,
            Self::User(_) => Keyword::User,
            Self::Expose(_) => Keyword::Expose,
            Self::Volume(_) => Keyword::Volume,
            Self::Cmd(_) => Keyword::Cmd,
            Self::Entrypoint(_) => Keyword::Entrypoint,
            Self::Shell(_) => Keyword::Shell,
            Self::Stopsignal(_) => Keyword::Stopsignal,
            Self::Healthcheck(_) => Keyword::Healthcheck,
            Self::Onbuild(_) => Keyword::Onbuild,
            Self::Maintainer(_) => Keyword::Maintainer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_describe_what_is_below() {
        let source =
            "# foo sets foo\nARG foo=bar\n\n# note\n\n# base is first\n# x\nFROM a AS base\n";
        let Dockerfile { global_args, stages, .. } = parse(source).dockerfile;
        let comment = global_args[0].comment.as_deref().unwrap_or_default();
        assert_eq!(description(comment, "foo"), Some("sets foo"));
        assert_eq!(stages[0].comment.as_deref(), Some("base is first\nx"));
        assert_eq!(description("base is first\nx", "bas"), None);
    }

    #[test]
    fn triggers_are_parsed_alone() {
        let (instruction, diagnostics) = parse_instruction("RUN <<EOF\necho\nEOF");
        assert!(diagnostics.is_empty());
        let Some(InstructionKind::Run(run)) = instruction.map(|i| i.kind) else { panic!() };
        assert_eq!(run.heredocs[0].content, "echo\n");
        for wrong in ["", "FROM a", "RUN a\nRUN b", "COPPY a b"] {
            assert!(!parse_instruction(wrong).1.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn triggers_are_stored_with_their_documents() {
        let parsed = parse("FROM a\nonbuild  RUN \\\n  <<-X\n\techo\n\tX\nRUN b\n");
        let [first, second] = parsed.dockerfile.stages[0].instructions.as_slice() else { panic!() };
        let InstructionKind::Onbuild(onbuild) = &first.kind else { panic!() };
        assert_eq!(onbuild.text, "RUN   <<-X\n\techo\nX");
        let (again, diagnostics) = parse_instruction(&onbuild.text);
        assert!(diagnostics.is_empty());
        let Some(InstructionKind::Run(run)) = again.map(|i| i.kind) else { panic!() };
        assert_eq!(run.heredocs[0].body(), "echo\n");
        assert_eq!((first.span, second.span), (Span::new(7, 37), Span::new(38, 43)));
    }

    #[test]
    fn bytes_that_are_no_text_are_a_warning() {
        let parsed = parse_bytes(b"FROM a\nRUN echo \xff\n");
        assert!(parsed.is_ok());
        assert_eq!(parsed.diagnostics.len(), 1);
        assert_eq!(parsed.diagnostics[0].span, Span::new(16, 19));
    }

    #[test]
    fn long_chains_of_triggers_are_refused_quickly() {
        let source = "FROM a\n".to_owned() + &"ONBUILD ".repeat(100_000) + "RUN x";
        assert_eq!(parse(&source).diagnostics.len(), 1);
    }
}
