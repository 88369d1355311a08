//! Checks of `ARG`, `ENV` and `LABEL`: old forms, secrets, descriptions.

use std::collections::BTreeSet;

use super::secrets::is_secret_name;
use super::{Sink, warn};
use crate::ast::{ArgPair, Dockerfile, Instruction, InstructionKind, KeyValue};
use crate::expand::Expander;

pub(super) fn check(dockerfile: &Dockerfile, source: &str, sink: &mut Sink<'_>) {
    let expander = Expander::new(dockerfile.directives.escape);
    let names = Names::new(dockerfile, source);
    for arg in &dockerfile.global_args {
        describe(arg, sink);
    }
    for stage in &dockerfile.stages {
        if let Some(name) = &stage.from.name {
            let described = [name.value.to_ascii_lowercase()];
            let comment = stage.comment.as_deref();
            if let Some(example) = misdescribed(comment, &described) {
                let span = stage.keyword.span;
                sink.push(comment, warn::invalid_definition_description("FROM", &example, span));
            }
        }
        for instruction in &stage.instructions {
            let keyword = instruction.keyword.value.as_str();
            match &instruction.kind {
                InstructionKind::Arg(args) => {
                    describe(instruction, sink);
                    old_arg(instruction, &names, sink);
                    let keys = args.iter().map(|arg| &arg.name);
                    secrets(instruction, keys, expander, sink);
                }
                InstructionKind::Env(pairs) => {
                    old_form(instruction, keyword, pairs, sink);
                    secrets(instruction, pairs.iter().map(|pair| &pair.key), expander, sink);
                }
                InstructionKind::Label(pairs) => old_form(instruction, keyword, pairs, sink),
                _ => {}
            }
        }
    }
}

fn old_form(instruction: &Instruction, keyword: &str, pairs: &[KeyValue], sink: &mut Sink<'_>) {
    for pair in pairs.iter().filter(|pair| pair.legacy) {
        let span = pair.key.span.to(pair.value.span);
        let warning = warn::legacy_key_value_format(keyword, span);
        sink.push(instruction.comment.as_deref(), warning);
    }
}

/// The names that something in the file refers to or declares globally.
struct Names<'s>(BTreeSet<&'s str>);

impl<'s> Names<'s> {
    fn new(dockerfile: &'s Dockerfile, source: &'s str) -> Self {
        let used = source.match_indices('$').map(|(at, _)| {
            let name = source[at + 1..].trim_start_matches('{');
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
            &name[..end.unwrap_or(name.len())]
        });
        let global = dockerfile.global_args().map(|arg| arg.name.value.as_str());
        Self(used.chain(global).collect())
    }
}

/// `ARG name value` declares two arguments, which nobody means who writes it that way. What makes
/// it suspicious is a second name that is not in capitals and that nothing else mentions.
fn old_arg(instruction: &Instruction, names: &Names<'_>, sink: &mut Sink<'_>) {
    let InstructionKind::Arg(args) = &instruction.kind else { return };
    let [name @ ArgPair { value: None, .. }, value @ ArgPair { value: None, .. }] = args.as_slice()
    else {
        return;
    };
    let second = value.name.value.as_str();
    if second != second.to_ascii_uppercase() && !names.0.contains(second) {
        let span = name.name.span.to(value.name.span);
        sink.push(instruction.comment.as_deref(), warn::legacy_key_value_format("ARG", span));
    }
}

fn secrets<'n>(
    instruction: &Instruction,
    names: impl Iterator<Item = &'n crate::Spanned<String>>,
    expander: Expander,
    sink: &mut Sink<'_>,
) {
    let keyword = instruction.kind.keyword().name();
    for name in names {
        let constant = expander.parse(&name.value).is_ok_and(|name| name.is_constant());
        if constant && is_secret_name(&name.value) {
            let warning = warn::secrets_used_in_arg_or_env(keyword, &name.value, name.span);
            sink.push(instruction.comment.as_deref(), warning);
        }
    }
}

fn describe(instruction: &Instruction, sink: &mut Sink<'_>) {
    let InstructionKind::Arg(args) = &instruction.kind else { return };
    let names: Vec<_> = args.iter().map(|arg| arg.name.value.clone()).collect();
    let comment = instruction.comment.as_deref();
    if let Some(example) = misdescribed(comment, &names) {
        let span = instruction.keyword.span;
        sink.push(comment, warn::invalid_definition_description("ARG", &example, span));
    }
}

/// The name that the last line of `comment` should begin with, if it begins with none of `names`.
fn misdescribed(comment: Option<&str>, names: &[String]) -> Option<String> {
    let first = comment?.lines().last()?.split(' ').next()?;
    if names.iter().any(|name| name == first) {
        return None;
    }
    match names {
        [name] => Some(name.clone()),
        _ => Some("<arg_key>".to_owned()),
    }
}
