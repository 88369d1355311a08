//! Instructions, one by one.

use bld_dockerfile::expand::Env as _;
use bld_dockerfile::{Diagnostic, Instruction, InstructionKind, Span};
use bld_oci::Platform;

use super::Lowering;
use super::report::Place;
use super::stage::Stage;
use crate::op::Op;
use crate::plan::Vertex;

/// One instruction to lower.
pub(super) struct Step<'s> {
    pub(super) instruction: &'s Instruction,
    /// It comes from an `ONBUILD` of the base.
    pub(super) trigger: bool,
    /// Where it is said to stand.
    pub(super) span: Span,
    /// Its own spans point into another text.
    foreign: bool,
}

impl<'s> Step<'s> {
    /// An instruction of the stage itself.
    pub(super) fn new(instruction: &'s Instruction) -> Self {
        Self { instruction, trigger: false, span: instruction.span, foreign: false }
    }

    /// A trigger of a stage of the same file.
    pub(super) fn trigger(instruction: &'s Instruction) -> Self {
        Self { instruction, trigger: true, span: instruction.span, foreign: false }
    }

    /// A trigger of an image, which is said to stand at `span`.
    pub(super) fn foreign(instruction: &'s Instruction, span: Span) -> Self {
        Self { instruction, trigger: true, span, foreign: true }
    }
}

/// Whether an instruction counts in the names of the steps.
pub(super) fn makes_step(kind: &InstructionKind) -> bool {
    use InstructionKind::{Add, Copy, Run, Workdir};
    matches!(kind, Add(_) | Copy(_) | Run(_) | Workdir(_))
}

impl Lowering<'_> {
    /// Lowers one instruction; what is wrong with it is reported.
    pub(super) fn step(&mut self, stage: &mut Stage, step: &Step) {
        let comment = step.instruction.comment.clone();
        let instead = step.foreign.then_some(step.span);
        let outer = self.report.enter(Place { comment, instead });
        let result = self.instruction(stage, step);
        self.report.take(result);
        self.report.enter(outer);
    }

    fn instruction(&mut self, stage: &mut Stage, step: &Step) -> Result<(), Diagnostic> {
        use InstructionKind as Kind;
        match &step.instruction.kind {
            Kind::Run(run) => self.run(stage, step, run)?,
            Kind::Copy(copy) => self.copy(stage, step, &copy.into())?,
            Kind::Add(add) => self.copy(stage, step, &add.into())?,
            Kind::Workdir(path) => self.workdir(stage, step, path)?,
            Kind::Arg(pairs) => self.arg(stage, pairs)?,
            Kind::Env(pairs) => self.env(stage, pairs)?,
            Kind::Label(pairs) => self.label(stage, pairs)?,
            Kind::User(user) => self.user(stage, user)?,
            Kind::Expose(ports) => self.expose(stage, ports)?,
            Kind::Volume(paths) => self.volume(stage, paths)?,
            Kind::Stopsignal(signal) => self.stopsignal(stage, signal)?,
            Kind::Cmd(command) => stage.cmd(command),
            Kind::Entrypoint(command) => stage.entrypoint(command),
            Kind::Shell(words) => stage.set_shell(words),
            Kind::Healthcheck(check) => stage.healthcheck(check),
            Kind::Maintainer(name) => stage.maintainer(name),
            Kind::Onbuild(trigger) => stage.onbuild(trigger),
        }
        Ok(())
    }

    /// The name of the next step of a stage.
    pub(super) fn step_name(&self, stage: &mut Stage, text: &str) -> String {
        let platform = self
            .options
            .multi_platform
            .then(|| format!("{}{} ", stage.platform, target_of(&stage.scope, &stage.platform)));
        stage.counter.next(&platform.unwrap_or_default(), text)
    }

    /// The vertex of a step; `text` is the instruction as it is shown.
    pub(super) fn vertex(&self, stage: &mut Stage, step: &Step, op: Op, text: &str) -> Vertex {
        let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
        let trigger = if step.trigger { "ONBUILD " } else { "" };
        let shown = format!("{trigger}{} {rest}", keyword.to_uppercase());
        let name = self.step_name(stage, shown.trim_end());
        Vertex {
            no_cache: stage.no_cache && !matches!(op, Op::Mkdir(_)),
            op,
            name,
            stage: stage.label.clone(),
            span: step.span,
            platform: stage.platform.clone(),
            surroundings: stage.surroundings(),
        }
    }
}

/// What a cross-building step builds for, as `->arm64`; empty if that is its own platform. A step
/// is told by the target arguments it can see.
fn target_of(scope: &super::scope::Scope, own: &Platform) -> String {
    let parsed = scope.get("TARGETPLATFORM").and_then(|text| Platform::parse(text).ok());
    let (os, arch) = (scope.get("TARGETOS"), scope.get("TARGETARCH"));
    let target = parsed.or_else(|| {
        let variant = scope.get("TARGETVARIANT");
        (os.is_some() || arch.is_some() || variant.is_some()).then(|| {
            Platform::new(os.unwrap_or(&own.os), arch.unwrap_or(&own.architecture), variant)
        })
    });
    let own = own.normalized();
    match target {
        Some(target) if target.os != own.os => format!("->{target}"),
        Some(target) if target.architecture != own.architecture => {
            let text = target.to_string();
            format!("->{}", text.split_once('/').map_or(text.as_str(), |(_, rest)| rest))
        }
        _ => String::new(),
    }
}
