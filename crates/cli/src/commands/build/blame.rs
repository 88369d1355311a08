//! Which words of an instruction a failed step is about, and what can be done.

use bld_dockerfile::syntax::{self, Operands, Statement};
use bld_dockerfile::{Span, Spanned};
use bld_engine::build::{StepError, StepFailure};

use crate::error::describe;

/// The words to underline and what could help. When no words can be told, it is the instruction.
pub(super) fn blame(source: &str, error: &StepError) -> (Span, Option<String>) {
    let statement = syntax::read(source).statements.into_iter().find(|s| s.span == error.span);
    let Some(statement) = statement else { return (error.span, None) };
    let (word, hint) = match &error.cause {
        StepFailure::MissingSource(missing) => {
            let word = words(&statement).iter().find(|word| clamped(&word.value) == missing.path);
            let hint = if let Some((file, line, _)) = &missing.ignored_by {
                let path = missing.path.trim_start_matches('/');
                Some(format!(
                    "take the rule away, or add `!{path}` below it ({}:{line})",
                    file.display()
                ))
            } else if word.is_some_and(|word| word.value.split('/').any(|part| part == "..")) {
                Some(
                    "`..` stops at the root of the context; give the directory with \
                     --build-context NAME=DIRECTORY and copy it --from=NAME"
                        .to_owned(),
                )
            } else {
                None
            };
            (word.cloned(), hint)
        }
        StepFailure::User(_) => {
            let word = flag(&statement, "--chown", |_| true);
            let hint = "create it in an earlier step, or give its number";
            (word, Some(hint.to_owned()))
        }
        StepFailure::NotGiven { id, .. } => {
            (flag(&statement, "--mount", |value| value.contains(id.as_str())), None)
        }
        StepFailure::WrongReuse { .. } => {
            let hint = "the step depends on something else than the files it reads: the time, a \
                        server, or modification times; --traced-cache=use would have been wrong";
            (None, Some(hint.to_owned()))
        }
        cause if describe(cause).ends_with("exec format error") => {
            let hint = "the program is for machines of another kind, and no emulator for them is \
                        registered here (binfmt_misc; qemu-user-static brings one), or it is a \
                        script that does not begin with `#!`";
            (None, Some(hint.to_owned()))
        }
        // The kernel's words.
        cause if describe(cause).contains("too many lower directories") => {
            let hint = "that many layers can be copied to, but not run on: join steps, or copy \
                        what they made into another stage";
            (None, Some(hint.to_owned()))
        }
        _ => (None, None),
    };
    (word.map_or(error.span, |word| word.span), hint)
}

fn words(statement: &Statement) -> &[Spanned<String>] {
    match &statement.operands {
        Operands::Words(words) | Operands::Json(words) => words,
        _ => &[],
    }
}

/// The value of a flag for which `test` holds.
fn flag(statement: &Statement, name: &str, test: impl Fn(&str) -> bool) -> Option<Spanned<String>> {
    let named = statement.flags.iter().filter(|flag| flag.name.value == name);
    named.filter_map(|flag| flag.value.clone()).find(|value| test(&value.value))
}

/// `path` from the root of the context, which it can't leave.
fn clamped(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
