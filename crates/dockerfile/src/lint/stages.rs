//! Checks of `FROM`: names, platforms, arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::is_reference;
use super::{PLATFORM_ARGS, Sink, default_args, warn};
use crate::ast::{Dockerfile, Stage};
use crate::expand::{Expander, Template};
use crate::span::Spanned;
use crate::suggest::suggest;

/// The argument that names the platform to build for.
const TARGET: &str = "TARGETPLATFORM";

const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check(dockerfile: &Dockerfile, sink: &mut Sink<'_>) {
    let expander = Expander::new(dockerfile.directives.escape);
    let defaults = default_args(dockerfile);
    let mut names = BTreeSet::new();
    for stage in &dockerfile.stages {
        let comment = stage.comment.as_deref();
        check_name(stage, &mut names, sink);
        for word in stage.from.platform.iter().chain([&stage.from.image]) {
            if let Ok(template) = expander.parse(&word.value) {
                undefined(dockerfile, &template, word, comment, sink);
            }
        }
        if let Some(platform) = &stage.from.platform {
            check_platform(stage, platform, expander, &defaults, sink);
        }
        let image = &stage.from.image;
        let variable = expander.parse(&image.value).is_ok_and(|image| !image.is_constant());
        if variable
            && let Ok(expanded) = expander.word(&image.value, &defaults)
            && !is_reference(&expanded.text)
        {
            sink.push(comment, warn::invalid_default_arg_in_from(&image.value, image.span));
        }
    }
    check_casing(dockerfile, sink);
}

fn check_name(stage: &Stage, earlier: &mut BTreeSet<String>, sink: &mut Sink<'_>) {
    let comment = stage.comment.as_deref();
    let (Some(written), Some(name)) = (&stage.from.name, stage.name()) else { return };
    if written.value != name {
        sink.push(comment, warn::stage_name_casing(&written.value, written.span));
    }
    if RESERVED.contains(&name.as_str()) {
        sink.push(comment, warn::reserved_stage_name(&name, written.span));
    }
    if earlier.contains(&name) {
        sink.push(comment, warn::duplicate_stage_name(&name, written.span));
    }
    earlier.insert(name);
    // A FROM in mixed case is the business of another rule.
    let (from, keyword) = (&stage.keyword, stage.from.as_keyword.as_ref());
    if let (Some(case), Some(keyword)) = (Case::of(&from.value), keyword)
        && Case::of(&keyword.value) != Some(case)
    {
        sink.push(comment, warn::from_as_casing(&from.value, &keyword.value, keyword.span));
    }
}

fn check_platform(
    stage: &Stage,
    platform: &Spanned<String>,
    expander: Expander,
    defaults: &BTreeMap<String, String>,
    sink: &mut Sink<'_>,
) {
    let comment = stage.comment.as_deref();
    let Ok(template) = expander.parse(&platform.value) else { return };
    let expanded = expander.word(&platform.value, defaults).map(|expanded| expanded.text);
    let variables = template.variables();
    let only_target =
        !variables.is_empty() && variables.iter().all(|variable| variable.name == TARGET);
    if only_target && expanded.ok().as_ref() == defaults.get(TARGET) {
        sink.push(comment, warn::redundant_target_platform(&platform.value, platform.span));
    }
    let Some(constant) = template.constant() else { return };
    // A stage that is named after its platform is meant to be the same everywhere.
    let name = stage.name().unwrap_or_default();
    let mut parts = constant.split('/').map(canonical);
    if !constant.is_empty() && !parts.by_ref().take(2).any(|part| name.contains(&part)) {
        let warning = warn::from_platform_flag_const_disallowed(&constant, platform.span);
        sink.push(comment, warning);
    }
}

/// An operating system or architecture under its usual name.
fn canonical(part: &str) -> String {
    let lower = part.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64".into(),
        "aarch64" => "arm64".into(),
        "armhf" | "armel" => "arm".into(),
        "i386" | "i686" => "386".into(),
        "macos" => "darwin".into(),
        _ => lower,
    }
}

/// Variables in `FROM` that no global `ARG` declares.
fn undefined(
    dockerfile: &Dockerfile,
    template: &Template,
    word: &Spanned<String>,
    comment: Option<&str>,
    sink: &mut Sink<'_>,
) {
    let declared = || {
        let platform = PLATFORM_ARGS.iter().map(|(name, _)| *name);
        platform.chain(dockerfile.global_args().map(|arg| arg.name.value.as_str()))
    };
    let mut seen = BTreeSet::new();
    for variable in template.variables() {
        let known = declared().any(|name| name == variable.name);
        if known || !seen.insert(variable.name.as_str()) {
            continue;
        }
        let suggestion = suggest(&variable.name, declared());
        let span = word.within(variable.span);
        sink.push(comment, warn::undefined_arg_in_from(&variable.name, suggestion, span));
    }
}

/// The case of a word, unless it is mixed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

impl Case {
    fn of(word: &str) -> Option<Self> {
        let (lower, upper) = word.bytes().fold((false, false), |(lower, upper), byte| {
            (lower || byte.is_ascii_lowercase(), upper || byte.is_ascii_uppercase())
        });
        match (lower, upper) {
            (_, false) => Some(Self::Lower),
            (false, true) => Some(Self::Upper),
            (true, true) => None,
        }
    }
}

/// All keywords should have the case that most of them have; upper case wins a tie.
fn check_casing(dockerfile: &Dockerfile, sink: &mut Sink<'_>) {
    let keywords = || dockerfile.stages.iter().flat_map(Stage::keywords);
    let count = |case| keywords().filter(|(word, _)| Case::of(&word.value) == Some(case)).count();
    let (case, name) = if count(Case::Lower) > count(Case::Upper) {
        (Case::Lower, "lowercase")
    } else {
        (Case::Upper, "uppercase")
    };
    for (word, comment) in keywords().filter(|(word, _)| Case::of(&word.value) != Some(case)) {
        sink.push(comment, warn::consistent_instruction_casing(&word.value, name, word.span));
    }
}

impl Stage {
    /// The keywords of the stage with the comments above them.
    fn keywords(&self) -> impl Iterator<Item = (&Spanned<String>, Option<&str>)> {
        let instructions = self.instructions.iter();
        let instructions = instructions.map(|i| (&i.keyword, i.comment.as_deref()));
        std::iter::once((&self.keyword, self.comment.as_deref())).chain(instructions)
    }
}
