//! What a Dockerfile offers: its targets, and what one of them takes.

use bld_dockerfile::{Dockerfile, Span};
/// What a target takes from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// Name of the stage; none: it has none.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// Build arguments that it or what it needs uses, in source order.
    pub args: Vec<OutlineArg>,
    /// Secrets that its steps mount.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents that its steps mount.
    pub ssh: Vec<OutlineMount>,
}

/// One build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above says of it.
    pub description: Option<String>,
    /// The value it would have; none: it is not set.
    pub value: Option<String>,
    /// The name in its declaration.
    pub span: Span,
}

/// One secret or SSH agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Some step fails without it.
    pub required: bool,
    /// The first instruction that mounts it.
    pub span: Span,
}

/// One stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, in lower case; none: it has none.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// What it starts from, as written.
    pub base: String,
    /// The platform of its base, as written.
    pub platform: Option<String>,
    /// It is built when no target is named.
    pub default: bool,
    /// Its `FROM`.
    pub span: Span,
}

/// The stages of a file, in its order.
pub fn targets(dockerfile: &Dockerfile) -> Vec<Target> {
    let last = dockerfile.stages.len();
    let stages = dockerfile.stages.iter().enumerate();
    let target = stages.map(|(index, stage)| {
        let name = stage.name();
        Target {
            description: name.as_deref().and_then(|name| described(stage.comment.as_deref(), name)),
            name,
            base: stage.from.image.value.clone(),
            platform: stage.from.platform.as_ref().map(|platform| platform.value.clone()),
            default: index + 1 == last,
            span: stage.span,
        }
    });
    target.collect()
}

/// What a comment of the form `name description` says of `name`.
pub(crate) fn described(comment: Option<&str>, name: &str) -> Option<String> {
    let description = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    comment?.lines().find_map(description)
}
