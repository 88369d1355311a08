//! `FROM`: what a stage starts from.

use std::rc::Rc;

use bld_dockerfile::{Diagnostic, suggest};
use bld_oci::Platform;

use super::Lowering;
use super::build::Inputs;
use super::report::Place;
use super::scope::Scope;
use super::stage::Stage;
use super::step::{Step, makes_step};
use super::table::Base;
use super::trees::image_vertex;
use super::triggers::Triggers;
use crate::op::{CopyOp, CopySource, Op};
use crate::options::NoCache;
use crate::plan;
use crate::resolve::{NamedContext, ResolvedImage};

/// Fields that Docker once wrote about how an image was made, which a child must not repeat.
const OF_THE_MAKING: &[&str] = &[
    "Size",
    "checksum",
    "comment",
    "container",
    "container_config",
    "docker_version",
    "id",
    "parent",
    "throwaway",
];

/// The same in the configuration of the container.
const OF_THE_CONTAINER: &[&str] = &[
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "MacAddress",
    "NetworkDisabled",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];

impl Lowering<'_> {
    /// Lowers stage `index`. What is wrong is reported; the stage that comes back is then good for
    /// looking at those that need it, and for nothing else.
    pub(super) fn stage(&mut self, index: usize) -> Stage {
        let comment = self.file.stages[index].comment.clone();
        let outer = self.report.enter(Place { comment, instead: None });
        let stage = self.stage_here(index);
        self.report.enter(outer);
        stage
    }

    fn stage_here(&mut self, index: usize) -> Stage {
        let source = &self.file.stages[index];
        let start = self.start(index);
        let (mut stage, triggers) = self.report.take(start).unwrap_or_else(|| {
            let platform = self.options.target_platform().clone();
            let mut stage = Stage::new(index, self.table.label(index), platform);
            stage.scope.open = true;
            (stage, Triggers::None)
        });
        if stage.replaced {
            return stage;
        }
        stage.default_path();
        for step in triggers.steps().chain(source.instructions.iter().map(Step::new)) {
            self.step(&mut stage, &step);
        }
        stage
    }

    /// Finds the base of stage `index` and makes its vertex.
    fn start(&mut self, index: usize) -> Result<(Stage, Triggers), Diagnostic> {
        let label = self.table.label(index);
        let target = self.options.target_platform();
        let platform = self.platform_flag(index)?.unwrap_or_else(|| target.clone());
        let span = self.file.stages[index].from.image.span;
        if let Some(name) = self.table.entries[index].name.clone()
            && let Some(context) = self.named(&name, &platform, span)?
        {
            let mut stage = Stage::new(index, label, platform);
            stage.replaced = true;
            return Ok(self.start_from_context(stage, context, &name));
        }
        let base = self.table.entries[index].base.clone()?;
        let mut stage = match &base {
            Base::Stage(parent) => {
                self.ensure(*parent);
                match &self.stages[*parent] {
                    Some(parent) => parent.child(index, label),
                    None => Stage::new(index, label, platform),
                }
            }
            Base::Scratch => Stage::new(index, label, target.clone()),
            Base::Image(_) => Stage::new(index, label, platform),
        };
        stage.epoch = self.globals.epoch;
        stage.no_cache = self.no_cache(index);
        match base {
            Base::Stage(parent) => {
                let triggers = self.stage_triggers(parent);
                self.start_counting(&mut stage, false, &triggers);
                Ok((stage, triggers))
            }
            Base::Scratch => {
                "/".clone_into(&mut stage.config.config.working_dir);
                self.start_counting(&mut stage, false, &Triggers::None);
                Ok((stage, Triggers::None))
            }
            Base::Image(name) => {
                if let Some(context) = self.named(&name, &stage.platform, span)? {
                    return Ok(self.start_from_context(stage, context, &name));
                }
                let image = self.image(&name, &stage.platform, span)?;
                Ok(self.start_from_image(stage, &image))
            }
        }
    }

    /// A stage whose base, or which itself, is a named context.
    fn start_from_context(
        &mut self,
        mut stage: Stage,
        context: NamedContext,
        name: &str,
    ) -> (Stage, Triggers) {
        let op = match context {
            NamedContext::Image(image) => return self.start_from_image(stage, &image),
            NamedContext::Files(op) => op,
        };
        "/".clone_into(&mut stage.config.config.working_dir);
        let files = self.files(op, name, &stage.platform);
        if stage.replaced {
            stage.root = Some(files);
            return (stage, Triggers::None);
        }
        self.start_counting(&mut stage, true, &Triggers::None);
        let mut inputs = Inputs::default();
        let input = Some(inputs.number(files));
        let all = CopySource::Tree { input, path: "/".to_owned(), unpack: false };
        let vertex = plan::Vertex {
            op: Op::Copy(Box::new(CopyOp::new(vec![all], "/".to_owned()))),
            name: self.step_name(&mut stage, &format!("FROM {name}")),
            stage: stage.label.clone(),
            span: self.file.stages[stage.index].span,
            no_cache: false,
            platform: stage.platform.clone(),
            surroundings: stage.surroundings(),
        };
        let root = self.builder.add(vertex, None, &inputs);
        // It is a layer, so it must have an entry, or layers and history would not agree.
        stage.layer(format!("FROM {name} # buildkit"), root);
        (stage, Triggers::None)
    }

    /// A stage whose base, or which itself, is an image.
    fn start_from_image(&mut self, mut stage: Stage, image: &ResolvedImage) -> (Stage, Triggers) {
        let place = self.file.stages[stage.index].span;
        self.check_base_platform(&stage, image);
        let mut config = image.config.clone();
        config.created = None;
        config.extra.retain(|field, _| !OF_THE_MAKING.contains(&field.as_str()));
        config.config.extra.retain(|field, _| !OF_THE_CONTAINER.contains(&field.as_str()));
        stage.base_history = Rc::new(std::mem::take(&mut config.history));
        let triggers = std::mem::take(&mut config.config.on_build);
        let triggers = if stage.replaced {
            Triggers::None
        } else {
            let triggers = self.image_triggers(&triggers, place);
            self.start_counting(&mut stage, true, &triggers);
            triggers
        };
        if let Some(mut vertex) = image_vertex(image, &stage.platform) {
            vertex.name = self.step_name(&mut stage, &vertex.name);
            vertex.stage.clone_from(&stage.label);
            vertex.span = place;
            stage.root = Some(self.builder.source(vertex));
        }
        stage.scope = Scope::from_image(&config.config.env);
        stage.base_shell = config.config.shell.is_some();
        stage.base = Some(plan::Base { reference: image.reference.clone(), digest: image.digest });
        stage.config = config;
        (stage, triggers)
    }

    /// Prepares the names of the steps; `base` says whether the base itself is one.
    fn start_counting(&self, stage: &mut Stage, base: bool, triggers: &Triggers) {
        let own = &self.file.stages[stage.index].instructions;
        let steps = triggers.steps().map(|step| step.instruction).chain(own);
        let steps = steps.filter(|instruction| makes_step(&instruction.kind)).count();
        stage.counter.total = usize::from(base) + steps;
        if !self.table.lonely {
            stage.counter.prefix = format!("{} ", stage.label);
        }
    }

    /// Whether the steps of stage `index` are to be done again.
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

    /// `FROM --platform`, expanded.
    pub(super) fn platform_flag(&self, index: usize) -> Result<Option<Platform>, Diagnostic> {
        let Some(flag) = &self.file.stages[index].from.platform else { return Ok(None) };
        let vars = &self.globals.vars;
        let expanded =
            self.expander.word(&flag.value, vars).map_err(|error| error.diagnostic(flag))?;
        let failure = |message: String| {
            let near = expanded.unset.iter().find_map(|name| suggest(name, vars.names()));
            let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            Diagnostic::error(message + &near, flag.span)
        };
        if expanded.text.is_empty() {
            return Err(failure(format!("empty platform value from expression {}", flag.value)));
        }
        let platform = Platform::parse(&expanded.text);
        platform.map(Some).map_err(|error| failure(format!("failed to parse platform: {error}")))
    }
}
