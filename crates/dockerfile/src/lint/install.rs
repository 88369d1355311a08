//! Rules of our own about installing packages, and what the cache makes of the order of steps.

use super::shell::{Simple, commands};
use super::{Sink, warn};
use crate::ast::{Dockerfile, Instruction, InstructionKind, Run, Source, Stage};
use crate::span::Spanned;

pub(super) fn check(dockerfile: &Dockerfile, source: &str, sink: &mut Sink<'_>) {
    let escape = dockerfile.directives.escape;
    for stage in &dockerfile.stages {
        for instruction in &stage.instructions {
            // Taking scripts apart is what costs most here.
            if let InstructionKind::Run(run) = &instruction.kind
                && source[instruction.span.range()].contains("update")
            {
                update_alone(instruction, run, &commands(run, source, escape), sink);
            }
        }
        copy_before_install(stage, source, escape, sink);
    }
}

/// Programs that may stand beside `apt-get update`. Any other may install something, so that a step
/// with one is left in peace.
const BYSTANDERS: [&str; 20] = [
    "[", "cat", "chmod", "cp", "curl", "dpkg", "echo", "export", "find", "gpg", "install", "ls",
    "mkdir", "mv", "printf", "rm", "sed", "set", "tee", "true",
];

/// What apt can be asked for without installing anything.
const NO_INSTALL: [&str; 4] = ["update", "clean", "autoclean", "autoremove"];

fn update_alone(
    instruction: &Instruction,
    run: &Run,
    commands: &[Simple<'_>],
    sink: &mut Sink<'_>,
) {
    let is_apt = |command: &Simple<'_>| matches!(command.words().next(), Some("apt-get" | "apt"));
    let verb = |command: &Simple<'_>| command.operands().nth(1).map(str::to_owned);
    let installs_nothing = |command: &Simple<'_>| {
        if is_apt(command) {
            verb(command).is_some_and(|verb| NO_INSTALL.contains(&verb.as_str()))
        } else {
            command.words().next().is_some_and(|program| BYSTANDERS.contains(&program))
        }
    };
    // Lists in a cache mount are not part of the step's result.
    let kept_elsewhere = run.mounts.iter().any(|mount| mount.text.value.contains("/var/lib/apt"));
    if kept_elsewhere || !commands.iter().all(installs_nothing) {
        return;
    }
    let update = |command: &&Simple<'_>| {
        is_apt(command) && verb(command).is_some_and(|verb| verb == "update")
    };
    if let Some(command) = commands.iter().find(update) {
        let text = command.words().collect::<Vec<_>>().join(" ");
        let comment = instruction.comment.as_deref();
        sink.push(comment, warn::apt_get_update_alone(&text, command.span()));
    }
}

/// Commands that install what files of the project list: the words they begin with, flags left
/// out; whether operands may follow, which with the others name packages; and the files.
const INSTALLERS: [(&[&str], bool, &str); 26] = [
    (&["bun", "install"], false, "package.json bun.lock"),
    (&["bundle", "install"], true, "Gemfile Gemfile.lock"),
    (&["cargo", "fetch"], true, "Cargo.toml Cargo.lock"),
    (&["composer", "install"], true, "composer.json composer.lock"),
    (&["dotnet", "restore"], true, "*.csproj"),
    (&["go", "mod", "download"], true, "go.mod go.sum"),
    (&["mix", "deps.get"], true, "mix.exs mix.lock"),
    (&["mvn", "dependency:go-offline"], true, "pom.xml"),
    (&["mvn", "dependency:resolve"], true, "pom.xml"),
    (&["npm", "ci"], false, "package.json package-lock.json"),
    (&["npm", "clean-install"], false, "package.json package-lock.json"),
    (&["npm", "i"], false, "package.json package-lock.json"),
    (&["npm", "install"], false, "package.json package-lock.json"),
    (&["pip", "install"], true, "requirements.txt"),
    (&["pip3", "install"], true, "requirements.txt"),
    (&["pipenv", "install"], false, "Pipfile Pipfile.lock"),
    (&["pipenv", "sync"], true, "Pipfile Pipfile.lock"),
    (&["pnpm", "fetch"], true, "pnpm-lock.yaml"),
    (&["pnpm", "i"], false, "package.json pnpm-lock.yaml"),
    (&["pnpm", "install"], false, "package.json pnpm-lock.yaml"),
    (&["poetry", "install"], true, "pyproject.toml poetry.lock"),
    (&["python", "pip", "install"], true, "requirements.txt"),
    (&["python3", "pip", "install"], true, "requirements.txt"),
    (&["uv", "pip", "install"], true, "requirements.txt"),
    (&["uv", "sync"], true, "pyproject.toml uv.lock"),
    (&["yarn", "install"], true, "package.json yarn.lock"),
];

/// The program and the files it reads, if `command` installs what a file of the project lists.
fn installer<'s>(command: &Simple<'s>) -> Option<(&'s str, &'static str)> {
    let operands: Vec<_> = command.operands().collect();
    let program = *operands.first()?;
    if operands == ["yarn"] {
        return Some((program, "package.json yarn.lock"));
    }
    let (_, _, manifest) = INSTALLERS.iter().find(|(words, more, _)| {
        operands.starts_with(words) && (*more || operands.len() == words.len())
    })?;
    let by_list = |word: &str| word.starts_with("-r") || word.starts_with("--requirement");
    let global = |word: &str| matches!(word, "-g" | "--global");
    let wanted = match *manifest {
        "requirements.txt" => command.words().any(by_list),
        _ => !command.words().any(global),
    };
    wanted.then_some((program, manifest))
}

/// A `COPY` of the whole context with an installation behind it. What was installed before it as
/// well was thought of, and a step with a cache mount has its packages at hand.
fn copy_before_install(stage: &Stage, source: &str, escape: char, sink: &mut Sink<'_>) {
    let copies_all = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Copy(copy) => whole_context(&copy.sources).is_some(),
        InstructionKind::Add(add) => whole_context(&add.sources).is_some(),
        _ => false,
    };
    if !stage.instructions.iter().any(copies_all) {
        return;
    }
    let mut copied: Option<(&Instruction, &Spanned<String>)> = None;
    let mut installed = Vec::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(copy) if copy.from.is_none() => {
                let whole = whole_context(&copy.sources);
                copied = copied.or(whole.map(|word| (instruction, word)));
            }
            InstructionKind::Add(add) => {
                let whole = whole_context(&add.sources);
                copied = copied.or(whole.map(|word| (instruction, word)));
            }
            InstructionKind::Run(run) => {
                let cached = run.mounts.iter().any(|mount| mount.text.value.contains("type=cache"));
                for command in commands(run, source, escape) {
                    let Some((program, manifest)) = installer(&command) else { continue };
                    let first = !installed.contains(&program);
                    installed.push(program);
                    let Some((copy, word)) = copied.filter(|_| first && !cached) else { continue };
                    let text: Vec<_> = command.words().collect();
                    let keyword = copy.kind.keyword().name();
                    let advice =
                        warn::copy_before_install(keyword, &text.join(" "), manifest, word.span);
                    sink.push(copy.comment.as_deref(), advice);
                    return; // once is enough
                }
            }
            _ => {}
        }
    }
}

/// The source that names the whole context.
fn whole_context(sources: &[Source]) -> Option<&Spanned<String>> {
    sources.iter().find_map(|source| match source {
        Source::Path(path) if matches!(path.as_str(), "." | "./" | "/" | "*" | "./*") => Some(path),
        _ => None,
    })
}
