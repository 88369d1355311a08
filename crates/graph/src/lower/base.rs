//! `FROM`: what a stage starts from.

use std::rc::Rc;

use bld_dockerfile::{Diagnostic, Instruction, InstructionKind, Span, suggest};
use bld_oci::Platform;

use super::Lowering;
use super::build::Inputs;
use super::scope::Scope;
use super::stage::{Counter, Stage};
use super::step::{Step, makes_step};
use super::table::Base;
use super::trees::image_vertex;
use crate::op::{CopyOp, CopySource, Op};
use crate::options::NoCache;
use crate::plan;
use crate::resolve::{NamedContext, ResolvedImage};

/// How a stage begins.
struct Start {
    stage: Stage,
    /// The instructions the base wants to be run first.
    triggers: Triggers,
    /// A named context stands in for the stage: its own instructions don't count.
    replaced: bool,
}

/// The `ONBUILD` instructions of a base.
#[derive(Default)]
enum Triggers {
    /// There are none.
    #[default]
    None,
    /// Those of an image, which stand in no file of ours.
    Image(Vec<Instruction>),
    /// Those of another stage.
    Stage(Vec<Instruction>),
}

impl Triggers {
    fn instructions(&self) -> &[Instruction] {
        match self {
            Self::None => &[],
            Self::Image(instructions) | Self::Stage(instructions) => instructions,
        }
    }
}

impl Lowering<'_> {
    /// Lowers stage `index`. What is wrong is reported; the stage that comes back is then good for
    /// looking at those that need it, and for nothing else.
    pub(super) fn stage(&mut self, index: usize) -> Stage {
        let file = self.file;
        let source = &file.stages[index];
        self.report.comment.clone_from(&source.comment);
        let start = self.start(index);
        let Start { mut stage, triggers, replaced } =
            self.report.take(start).unwrap_or_else(|| {
                let platform = self.options.target_platform().clone();
                let stage = Stage::new(index, self.table.label(index), platform);
                Start { stage, triggers: Triggers::None, replaced: false }
            });
        if replaced {
            return stage;
        }
        stage.default_path();
        stage.no_cache = self.no_cache(index);
        for instruction in triggers.instructions() {
            let step = match triggers {
                Triggers::Image(_) => Step::foreign(instruction, source),
                _ => Step::trigger(instruction),
            };
            self.step(&mut stage, &step);
        }
        for instruction in &source.instructions {
            self.step(&mut stage, &Step::new(instruction));
        }
        stage
    }

    /// Finds the base of stage `index` and makes its vertex.
    fn start(&mut self, index: usize) -> Result<Start, Diagnostic> {
        let source = &self.file.stages[index];
        let flag = self.platform_flag(index)?;

        let label = self.table.label(index);
        let target = self.options.target_platform().clone();
        let platform = flag.unwrap_or_else(|| target.clone());
        let span = source.from.image.span;
        if let Some(name) = self.table.entries[index].name.clone()
            && let Some(context) = self.named(&name, &platform, span)?
        {
            let stage = Stage::new(index, label, platform);
            return self.from_context(stage, context, &name, true);
        }
        let name = match self.table.entries[index].base.clone()? {
            Base::Stage(parent) => {
                self.ensure(parent);
                let mut stage = match &self.stages[parent] {
                    Some(parent) => parent.child(index, label),
                    None => Stage::new(index, label, platform),
                };
                let triggers = Triggers::Stage(self.triggers_of(parent));
                self.start_counting(&mut stage, false, &triggers);
                return Ok(Start { stage, triggers, replaced: false });
            }
            Base::Scratch => {
                let mut stage = Stage::new(index, label, target);
                stage.config.config.working_dir = "/".to_owned();
                self.start_counting(&mut stage, false, &Triggers::None);
                return Ok(Start { stage, triggers: Triggers::None, replaced: false });
            }
            Base::Image(name) => name,
        };
        let stage = Stage::new(index, label, platform);
        if let Some(context) = self.named(&name, &stage.platform, span)? {
            return self.from_context(stage, context, &name, false);
        }
        let image = self.image(&name, &stage.platform, span)?;
        Ok(self.from_image(stage, &image, false))
    }

    /// A stage whose base, or which itself, is a named context.
    fn from_context(
        &mut self,
        mut stage: Stage,
        context: NamedContext,
        name: &str,
        replaced: bool,
    ) -> Result<Start, Diagnostic> {
        let op = match context {
            NamedContext::Image(image) => return Ok(self.from_image(stage, &image, replaced)),
            NamedContext::Files(op) => op,
        };
        stage.config.config.working_dir = "/".to_owned();
        let files = self.files(op, name, &stage.platform);
        if replaced {
            stage.root = Some(files);
            return Ok(Start { stage, triggers: Triggers::None, replaced });
        }
        self.start_counting(&mut stage, true, &Triggers::None);
        let mut inputs = Inputs::default();
        let input = Some(inputs.number(files));
        let all = CopySource::Tree { input, path: "/".to_owned(), unpack: false };
        let copy = CopyOp::new(vec![all], "/".to_owned());
        let vertex = plan::Vertex {
            op: Op::Copy(Box::new(copy)),
            name: self.step_name(&mut stage, &format!("FROM {name}")),
            stage: stage.label.clone(),
            span: self.file.stages[stage.index].span,
            no_cache: false,
            platform: stage.platform.clone(),
        };
        let root = self.builder.add(vertex, None, &inputs);
        stage.root = Some(root);
        // What the image is made of must have an entry, or layers and history would not agree.
        stage.record(format!("FROM {name} # buildkit"), Some(root), self.globals.epoch);
        Ok(Start { stage, triggers: Triggers::None, replaced })
    }

    /// A stage whose base, or which itself, is an image.
    fn from_image(&mut self, mut stage: Stage, image: &ResolvedImage, replaced: bool) -> Start {
        let source = &self.file.stages[stage.index];
        self.check_base_platform(&stage, image);
        let mut config = image.config.clone();
        let texts = std::mem::take(&mut config.config.on_build);
        let triggers = match replaced {
            true => Triggers::None,
            false => Triggers::Image(self.parse_triggers(&texts, source.span)),
        };
        if !replaced {
            self.start_counting(&mut stage, true, &triggers);
        }
        if let Some(mut vertex) = image_vertex(image, &stage.platform) {
            vertex.name = self.step_name(&mut stage, &vertex.name);
            vertex.stage.clone_from(&stage.label);
            vertex.span = source.span;
            stage.root = Some(self.builder.source(vertex));
        }
        config.created = None;
        stage.base_history = Rc::new(std::mem::take(&mut config.history));
        stage.scope = Scope::from_image(&config.config.env);
        stage.base_shell = config.config.shell.is_some();
        stage.config = config;
        stage.base = Some(plan::Base { reference: image.reference.clone(), digest: image.digest });
        Start { stage, triggers, replaced }
    }

    /// Prepares the names of the steps; `base` says whether the base itself is one.
    fn start_counting(&self, stage: &mut Stage, base: bool, triggers: &Triggers) {
        let own = &self.file.stages[stage.index].instructions;
        let steps = triggers.instructions().iter().chain(own).filter(|step| makes_step(&step.kind));
        let prefix = match self.table.lonely {
            true => String::new(),
            false => format!("{} ", stage.label),
        };
        stage.counter = Counter { prefix, done: 0, total: usize::from(base) + steps.count() };
    }

    fn no_cache(&self, index: usize) -> bool {
        match &self.options.no_cache {
            NoCache::Off => false,
            NoCache::All => true,
            NoCache::Stages(names) => {
                let name = self.table.entries[index].name.as_deref();
                names.iter().any(|wanted| {
                    name == Some(&wanted.to_lowercase()) || wanted.parse() == Ok(index)
                })
            }
        }
    }

    /// Parses the triggers of an image, which stand in no file of ours.
    fn parse_triggers(&mut self, triggers: &[String], span: Span) -> Vec<Instruction> {
        self.report.instead = Some(span);
        let mut instructions = Vec::new();
        for trigger in triggers {
            let (instruction, found) = bld_dockerfile::parse_instruction(trigger);
            for mut found in found.into_iter().filter(Diagnostic::is_error) {
                found.message = format!("in the ONBUILD trigger {trigger:?}: {}", found.message);
                self.report.push(found);
            }
            instructions.extend(instruction);
        }
        self.report.instead = None;
        instructions
    }

    /// The triggers that stage `parent` has for those that start from it.
    fn triggers_of(&self, parent: usize) -> Vec<Instruction> {
        let instructions = self.file.stages[parent].instructions.iter();
        let triggers = instructions.filter_map(|instruction| match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => Some((*onbuild.instruction).clone()),
            _ => None,
        });
        triggers.collect()
    }

    /// `FROM --platform`, expanded.
    pub(super) fn platform_flag(&self, index: usize) -> Result<Option<Platform>, Diagnostic> {
        let Some(flag) = &self.file.stages[index].from.platform else { return Ok(None) };
        let expanded = self
            .expander
            .word(&flag.value, &self.globals.vars)
            .map_err(|error| error.diagnostic(flag))?;
        let failure = |message: String| {
            let near =
                expanded.unset.iter().find_map(|name| suggest(name, self.globals.vars.names()));
            let diagnostic = Diagnostic::error(message, flag.span);
            match near {
                Some(near) => diagnostic.with_help(format!("did you mean ${near}?")),
                None => diagnostic,
            }
        };
        if expanded.text.is_empty() {
            return Err(failure(format!("empty platform value from expression {}", flag.value)));
        }
        let platform = Platform::parse(&expanded.text);
        platform.map(Some).map_err(|error| failure(format!("failed to parse platform: {error}")))
    }
}
