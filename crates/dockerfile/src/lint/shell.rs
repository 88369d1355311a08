//! What commands a `RUN` starts, as far as that can be told without running a shell.

use crate::ast::{Command, Run};
use crate::span::{Span, Spanned};

/// One simple command: its words as written, without the words of the shell's grammar before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Simple<'s>(Vec<Spanned<&'s str>>);

/// Words that stand before a command and change nothing about what it is.
const PREFIXES: [&str; 14] = [
    "!", "(", "{", "command", "do", "else", "elif", "env", "exec", "if", "sudo", "then", "time",
    "while",
];

impl<'s> Simple<'s> {
    /// The command and its arguments; `/usr/bin/x` counts as `x`.
    pub(super) fn words(&self) -> impl Iterator<Item = &'s str> {
        let program = self.0[0].value;
        let name = program.rsplit('/').next().unwrap_or(program);
        std::iter::once(name).chain(self.0[1..].iter().map(|word| word.value))
    }

    /// The words without flags: the program, the verb and what it is about.
    pub(super) fn operands(&self) -> impl Iterator<Item = &'s str> {
        self.words().filter(|word| !word.starts_with('-'))
    }

    /// Where it is written.
    pub(super) fn span(&self) -> Span {
        self.0[0].span.to(self.0[self.0.len() - 1].span)
    }
}

/// The commands that `run` starts; none if they are not written in the Dockerfile, as with the
/// text of another interpreter.
pub(super) fn commands<'s>(run: &'s Run, source: &'s str, escape: char) -> Vec<Simple<'s>> {
    match (&run.command, run.heredocs.as_slice()) {
        (Command::Exec(words), _) => {
            let words = words.iter().map(|word| Spanned::new(word.as_str(), run.command_span));
            let words: Vec<_> = words.collect();
            if words.is_empty() { Vec::new() } else { vec![Simple(words)] }
        }
        (_, []) => split(source, run.command_span, escape),
        (_, [only]) if only.span == run.command_span && !only.content.starts_with("#!") => {
            split(source, only.content_span, '\\')
        }
        _ => Vec::new(),
    }
}

/// Splits a part of a Dockerfile the way a shell splits a script: quotes are honoured, but nothing
/// is expanded, and the quotes stay.
fn split(source: &str, part: Span, escape: char) -> Vec<Simple<'_>> {
    let Some(text) = source.get(part.range()) else { return Vec::new() };
    let mut commands = Vec::new();
    let mut words: Vec<Spanned<&str>> = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    let word = |from: usize, to: usize| {
        let span = Span::new(part.start + from, part.start + to);
        Spanned::new(&text[from..to], span)
    };
    while let Some((at, c)) = chars.next() {
        if let Some(open) = quote {
            if c == open {
                quote = None;
            } else if c == '\\' && open == '"' {
                chars.next();
            }
            continue;
        }
        let continued = c == escape && rest_is_blank(&text[at + c.len_utf8()..]);
        let ends_word = continued || c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')');
        if ends_word && let Some(from) = start.take() {
            words.push(word(from, at));
        }
        match c {
            _ if continued => skip_line(&mut chars),
            '#' if start.is_none() => {
                skip_line(&mut chars);
                // In a continued instruction the command goes on below the comment.
            }
            '\n' | ';' | '&' | '|' | '(' | ')' => commands.extend(simple(&mut words)),
            _ if c.is_whitespace() => {}
            _ => {
                start = start.or(Some(at));
                match c {
                    '\'' | '"' => quote = Some(c),
                    '\\' => drop(chars.next()),
                    _ => {}
                }
            }
        }
    }
    if let Some(from) = start {
        words.push(word(from, text.len()));
    }
    commands.extend(simple(&mut words));
    commands
}

/// Whether nothing but blanks come before the end of the line.
fn rest_is_blank(rest: &str) -> bool {
    rest.chars().find(|c| *c == '\n' || !c.is_whitespace()) == Some('\n')
}

fn skip_line(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    for (_, c) in chars.by_ref() {
        if c == '\n' {
            break;
        }
    }
}

/// Takes `words` as one command, unless nothing but grammar and assignments is in them.
fn simple<'s>(words: &mut Vec<Spanned<&'s str>>) -> Option<Simple<'s>> {
    let words = std::mem::take(words);
    let before = |word: &Spanned<&str>| PREFIXES.contains(&word.value) || is_assignment(word.value);
    let words: Vec<_> = words.into_iter().skip_while(before).collect();
    (!words.is_empty()).then_some(Simple(words))
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstructionKind, parse};

    fn list(source: &str) -> Vec<String> {
        let parsed = parse(source);
        let Some(InstructionKind::Run(run)) =
            parsed.dockerfile.stages[0].instructions.first().map(|i| &i.kind)
        else {
            panic!("{source}");
        };
        let commands = commands(run, source, parsed.dockerfile.directives.escape);
        for command in &commands {
            assert!(source[command.span().range()].contains(command.0[0].value));
        }
        commands.iter().map(|command| command.words().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn scripts_are_taken_apart() {
        assert_eq!(
            list(
                "FROM a\nRUN set -e; A=1 /usr/bin/apt-get -qq update \\\n # why\n && (b 'c;d'|e)\n"
            ),
            ["set -e", "apt-get -qq update", "b 'c;d'", "e"]
        );
        assert_eq!(
            list("# escape=`\nFROM a\nRUN if a; then `\n  b \"x y\" z; fi\n"),
            ["a", "b \"x y\" z", "fi"]
        );
        assert_eq!(list("FROM a\nRUN <<X\na\n# no\nb \\\n c\nX\n"), ["a", "b c"]);
        assert_eq!(list("FROM a\nRUN <<X\n#!/usr/bin/env python\na\nX\n"), [] as [&str; 0]);
        assert_eq!(list("FROM a\nRUN [\"apt-get\", \"update\"]\n"), ["apt-get update"]);
        assert_eq!(list("FROM a\nRUN cat <<X\na\nX\n"), [] as [&str; 0]);
    }
}
