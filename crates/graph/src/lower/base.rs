//! `FROM`: what a stage starts from.

use std::rc::Rc;

use bld_dockerfile::{Diagnostic, Instruction, InstructionKind, Span, Spanned, suggest};
use bld_oci::{ImageConfig, Platform, Reference};

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
use crate::rules;

/// How a stage begins.
struct Start {
    stage: Stage,
    /// The instructions the base wants to be run first, as text.
    triggers: Vec<String>,
    /// A named context stands in for the stage: its own instructions don't count.
    replaced: bool,
}

impl Lowering<'_> {
    /// Lowers stage `index`. What is wrong is reported; the stage that comes back is then good for
    /// looking at those that need it, and for nothing else.
    pub(super) fn stage(&mut self, index: usize) -> Stage {
        let file = self.file;
        let source = &file.stages[index];
        let start = self.start(index);
        let Start { mut stage, triggers, replaced } = self.report.take(start).unwrap_or_else(|| {
            let platform = self.options.target_platform().clone();
            let stage = Stage::new(index, self.table.label(index), platform);
            Start { stage, triggers: Vec::new(), replaced: false }
        });
        if replaced {
            return stage;
        }
        stage.default_path();
        stage.no_cache = self.no_cache(index);

        let foreign = self.parse_triggers(&triggers, source.span);
        let own = self.triggers_of_parent(&stage);
        let steps: Vec<_> = (foreign.iter().map(|instruction| Step::foreign(instruction, source)))
            .chain(own.iter().map(|instruction| Step::trigger(instruction)))
            .chain(source.instructions.iter().map(Step::new))
            .collect();
        stage.counter.total += steps.iter().filter(|step| makes_step(&step.instruction.kind)).count();
        for step in steps {
            self.step(&mut stage, &step);
        }
        stage
    }

    /// Finds the base of stage `index` and makes its vertex.
    fn start(&mut self, index: usize) -> Result<Start, Diagnostic> {
        let source = &self.file.stages[index];
        self.check_image_args(index);
        let flag = self.platform_flag(index)?;
        self.check_platform_flag(index);

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
                self.start_counting(&mut stage, false);
                return Ok(Start { stage, triggers: Vec::new(), replaced: false });
            }
            Base::Scratch => {
                let mut stage = Stage::new(index, label, target);
                stage.config.config.working_dir = "/".to_owned();
                self.start_counting(&mut stage, false);
                return Ok(Start { stage, triggers: Vec::new(), replaced: false });
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
        self.start_counting(&mut stage, !replaced);
        stage.config.config.working_dir = "/".to_owned();
        let files = self.files(op, name, &stage.platform);
        if replaced {
            stage.root = Some(files);
            return Ok(Start { stage, triggers: Vec::new(), replaced });
        }
        let mut inputs = Inputs::default();
        let input = Some(inputs.number(files));
        let all = CopySource::Tree { input, path: "/".to_owned(), unpack: false };
        let copy = CopyOp::new(vec![all], "/".to_owned());
        let vertex = plan::Vertex {
            op: Op::Copy(Box::new(copy)),
            name: stage.counter.next(&format!("FROM {name}")),
            stage: stage.label.clone(),
            span: self.file.stages[stage.index].span,
            no_cache: false,
            platform: stage.platform.clone(),
        };
        let root = self.builder.add(vertex, None, &inputs);
        stage.root = Some(root);
        // What the image is made of must have an entry, or layers and history would not agree.
        stage.record(format!("FROM {name} # buildkit"), Some(root), self.globals.epoch);
        Ok(Start { stage, triggers: Vec::new(), replaced })
    }

    /// A stage whose base, or which itself, is an image.
    fn from_image(&mut self, mut stage: Stage, image: &ResolvedImage, replaced: bool) -> Start {
        let source = &self.file.stages[stage.index];
        self.check_base_platform(&stage, image);
        self.start_counting(&mut stage, !replaced);
        if let Some(mut vertex) = image_vertex(image, &stage.platform) {
            vertex.name = stage.counter.next(&vertex.name);
            vertex.stage.clone_from(&stage.label);
            vertex.span = source.span;
            stage.root = Some(self.builder.source(vertex));
        }
        let mut config = image.config.clone();
        config.created = None;
        stage.base_history = Rc::new(std::mem::take(&mut config.history));
        stage.scope = Scope::from_image(&config.config.env);
        let triggers = std::mem::take(&mut config.config.on_build);
        stage.config = config;
        stage.base =
            Some(plan::Base { reference: image.reference.clone(), digest: image.digest });
        Start { stage, triggers, replaced }
    }

    /// Prepares the names of the steps; `base` says whether the base itself is one.
    fn start_counting(&self, stage: &mut Stage, base: bool) {
        let lonely = self.table.lonely;
        let prefix = if lonely { String::new() } else { format!("{} ", stage.label) };
        stage.counter = Counter { prefix, done: 0, total: usize::from(base) };
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

    /// The triggers of the stage that `stage` starts from, if it starts from one.
    fn triggers_of_parent(&self, stage: &Stage) -> Vec<Instruction> {
        let Some(parent) = stage.parent else { return Vec::new() };
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
            let near = expanded.unset.iter().find_map(|name| suggest(name, self.globals.vars.names()));
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

    /// Checks of the arguments in the image name.
    fn check_image_args(&mut self, index: usize) {
        let from = &self.file.stages[index].from;
        self.check_declared(&from.image);
        let Some(defaults) = &self.globals.defaults else { return };
        let Ok(name) = self.expander.word(&from.image.value, defaults) else { return };
        let valid = name.text == "scratch" || Reference::parse(&name.text).is_ok();
        if !valid && from.image.value != name.text {
            let image = &from.image.value;
            let message =
                format!("Default value for ARG {image} results in empty or invalid base image name");
            self.report.warn(rules::INVALID_DEFAULT_ARG_IN_FROM, message, from.image.span);
        }
    }

    /// Checks of `FROM --platform`.
    fn check_platform_flag(&mut self, index: usize) {
        let Some(flag) = &self.file.stages[index].from.platform else { return };
        self.check_declared(flag);
        let Ok(expanded) = self.expander.word(&flag.value, &self.globals.vars) else { return };
        let target = self.globals.vars.get("TARGETPLATFORM");
        if expanded.used == ["TARGETPLATFORM"]
            && expanded.unset.is_empty()
            && Some(&expanded.text) == target
        {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default \
                 behavior",
                flag.value
            );
            self.report.warn(rules::REDUNDANT_TARGET_PLATFORM, message, flag.span);
        }
    }

    /// Warns of arguments in a `FROM` that are not declared before the first one.
    fn check_declared(&mut self, word: &Spanned<String>) {
        let Ok(expanded) = self.expander.word(&word.value, &self.globals.vars) else { return };
        for name in expanded.unset.iter().filter(|name| !self.globals.knows(name)) {
            let mut message = format!("FROM argument '{name}' is not declared");
            let known = self.globals.declared.iter().map(String::as_str);
            if let Some(near) = suggest(name, known.chain(self.globals.vars.names())) {
                message.push_str(&format!(" (did you mean {near}?)"));
            }
            self.report.warn(rules::UNDEFINED_ARG_IN_FROM, message, word.span);
        }
    }

    /// Warns if an image is for another platform than asked for.
    fn check_base_platform(&mut self, stage: &Stage, image: &ResolvedImage) {
        let (wanted, is) = (stage.platform.normalized(), platform_of(&image.config));
        if let Some(is) = is
            && (is.os != wanted.os || is.architecture != wanted.architecture)
        {
            let from = &self.file.stages[stage.index].from.image;
            let message = format!(
                "Base image {} was pulled with platform \"{is}\", expected \"{wanted}\" for \
                 current build",
                from.value
            );
            self.report.warn(rules::INVALID_BASE_IMAGE_PLATFORM, message, from.span);
        }
    }
}

/// The platform an image says it is for; none: it doesn't say.
fn platform_of(config: &ImageConfig) -> Option<Platform> {
    (!config.os.is_empty() && !config.architecture.is_empty()).then(|| config.platform())
}
