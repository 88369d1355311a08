//! Commands that were meant to be in the JSON form and are not.

use super::{Sink, warn};
use crate::ast::{Command, Dockerfile, Instruction, InstructionKind};
use crate::span::Span;

pub(super) fn check(dockerfile: &Dockerfile, source: &str, sink: &mut Sink<'_>) {
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let Some(span) = shell_form(instruction, source) else { continue };
        let text = &source[span.range()];
        if is_meant_as_json(text) {
            let keyword = instruction.kind.keyword().name();
            let warning = warn::json_args_malformed(keyword, repaired(text).as_deref(), span);
            sink.push(instruction.comment.as_deref(), warning);
        }
    }
}

/// Where the operands of an instruction are that could be in the JSON form and are not.
fn shell_form(instruction: &Instruction, source: &str) -> Option<Span> {
    match &instruction.kind {
        InstructionKind::Run(run) if matches!(run.command, Command::Shell(_)) => {
            Some(run.command_span)
        }
        InstructionKind::Cmd(Command::Shell(_))
        | InstructionKind::Entrypoint(Command::Shell(_))
        | InstructionKind::Volume(_) => {
            let start = instruction.keyword.span.end;
            let operands = source.get(start..instruction.span.end)?.trim_end();
            let skipped = operands.len() - operands.trim_start().len();
            Some(Span::new(start + skipped, start + operands.len()))
        }
        _ => None,
    }
}

/// Whether a text that is no JSON begins and ends like an array of strings. The `[` of the shell has
/// a blank behind it, and no commas.
fn is_meant_as_json(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']'))
    else {
        return false;
    };
    let quotes = ['\'', '"', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'];
    let list = ["\",", "',", "\u{201d},", "\u{2019},"].iter().any(|end| inner.contains(end));
    let parsed = serde_json::from_str::<Vec<String>>(text).is_ok();
    !parsed
        && !inner.contains('\n')
        && (inner.starts_with(quotes) || (inner.trim_start().starts_with(quotes) && list))
}

/// `text` with the usual slips corrected, if that makes it an array of strings.
fn repaired(text: &str) -> Option<String> {
    let straight = text.replace(['\'', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'], "\"");
    let inner = straight.trim_end().strip_suffix(']')?.trim_end();
    let closed = format!("{}]", inner.strip_suffix(',').unwrap_or(inner));
    serde_json::from_str::<Vec<String>>(&closed).is_ok().then_some(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_in_json_are_told_from_the_shells_brackets() {
        for slip in [
            "['a', 'b']",
            "['a']",
            "[\"a\", \"b\",]",
            "[\"a\" \"b\"]",
            "[ 'a', 'b' ]",
            "[\u{201c}a\u{201d}]",
            "[\"a\", b]",
        ] {
            assert!(is_meant_as_json(slip), "{slip}");
        }
        for fine in [
            "[ -f x ]",
            "[ \"$a\" = b ]",
            "[ 'a' ] && x",
            "[\"a\"] || b",
            "x",
            "[[ a ]]",
            "[\"a\"]",
        ] {
            assert!(!is_meant_as_json(fine), "{fine}");
        }
        assert_eq!(repaired("['a', 'b',]").as_deref(), Some("[\"a\", \"b\"]"));
        assert_eq!(repaired("[\"a\" \"b\"]"), None);
    }

    #[test]
    fn there_may_be_nothing_behind_the_instruction() {
        for source in ["FROM a\nCMD", "FROM a\nCMD \t\n", "FROM a\nENTRYPOINT \\\n"] {
            let parsed = crate::parse(source);
            crate::lint::check(&parsed.dockerfile, source);
        }
    }
}
