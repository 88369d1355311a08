//! Checks that follow a stage from instruction to instruction.

use std::collections::BTreeMap;

use super::{Sink, default_args, warn};
use crate::ast::{Command, Dockerfile, Instruction, InstructionKind};
use crate::expand::Expander;
use crate::keyword::Keyword;
use crate::span::Spanned;
use crate::value::PortRange;

/// What a stage hands on to stages built on it, as far as the checks care.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited {
    shell_chosen: bool,
    workdir_set: bool,
}

pub(super) fn check(dockerfile: &Dockerfile, sink: &mut Sink<'_>) {
    let expander = Expander::new(dockerfile.directives.escape);
    let args = default_args(dockerfile);
    let mut named: BTreeMap<String, Inherited> = BTreeMap::new();
    for stage in &dockerfile.stages {
        let image = expander.word(&stage.from.image.value, &args).unwrap_or_default().text;
        let mut state = named.get(&image.to_ascii_lowercase()).copied().unwrap_or_default();
        let mut once = Once::default();
        for instruction in &stage.instructions {
            once.check(instruction, sink);
            check_one(instruction, &mut state, expander, sink);
        }
        if let Some(name) = stage.name() {
            named.insert(name, state);
        }
    }
}

/// The latest instruction of each kind of which only the last one counts.
#[derive(Default)]
struct Once<'d>(Vec<(Keyword, &'d Instruction)>);

impl<'d> Once<'d> {
    fn check(&mut self, instruction: &'d Instruction, sink: &mut Sink<'_>) {
        let keyword = instruction.kind.keyword();
        if !matches!(keyword, Keyword::Cmd | Keyword::Entrypoint | Keyword::Healthcheck) {
            return;
        }
        if let Some((_, earlier)) = self.0.iter_mut().find(|(known, _)| *known == keyword) {
            let warning = warn::multiple_instructions_disallowed(
                &instruction.keyword.value,
                earlier.keyword.span,
            );
            sink.push(instruction.comment.as_deref(), warning);
            *earlier = instruction;
        } else {
            self.0.push((keyword, instruction));
        }
    }
}

fn check_one(
    instruction: &Instruction,
    state: &mut Inherited,
    expander: Expander,
    sink: &mut Sink<'_>,
) {
    let comment = instruction.comment.as_deref();
    match &instruction.kind {
        InstructionKind::Maintainer(name) => {
            let span = instruction.keyword.span;
            sink.push(comment, warn::maintainer_deprecated(&name.value, span));
        }
        InstructionKind::Shell(_) => state.shell_chosen = true,
        InstructionKind::Cmd(Command::Shell(_))
        | InstructionKind::Entrypoint(Command::Shell(_))
            if !state.shell_chosen =>
        {
            let keyword = &instruction.keyword;
            sink.push(comment, warn::json_args_recommended(&keyword.value, keyword.span));
        }
        InstructionKind::Workdir(path) => {
            if !state.workdir_set && is_relative(path, expander) {
                sink.push(comment, warn::workdir_relative_path(&path.value, path.span));
            }
            state.workdir_set = true;
        }
        InstructionKind::Expose(ports) => {
            for port in ports {
                check_port(port, comment, expander, sink);
            }
        }
        _ => {}
    }
}

/// Whether the path can be seen to be relative; with a variable in front it can't.
fn is_relative(path: &Spanned<String>, expander: Expander) -> bool {
    let Ok(template) = expander.parse(&path.value) else { return false };
    let Some(text) = template.literal_prefix() else { return false };
    let drive = text.get(1..2) == Some(":") && text.starts_with(|c: char| c.is_ascii_alphabetic());
    !text.starts_with(['/', '\\']) && !drive
}

fn check_port(
    word: &Spanned<String>,
    comment: Option<&str>,
    expander: Expander,
    sink: &mut Sink<'_>,
) {
    let Some(port) = expander.parse(&word.value).ok().and_then(|word| word.constant()) else {
        return;
    };
    let Ok(range) = port.parse::<PortRange>() else { return };
    if range.protocol.contains(|c: char| c.is_ascii_uppercase()) {
        sink.push(comment, warn::expose_proto_casing(&port, word.span));
    }
    if range.mapped {
        sink.push(comment, warn::expose_invalid_format(&port, word.span));
    }
}
