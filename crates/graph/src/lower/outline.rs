//! What a target takes from outside.

use std::collections::HashSet;

use bld_dockerfile::{ArgPair, Diagnostic, Dockerfile, Instruction, InstructionKind};

use super::Lowering;
use super::stage::Stage;
use crate::op::{MountKind, Op};
use crate::options::LowerOptions;
use crate::outline::{Outline, OutlineArg, OutlineMount, described};
use crate::plan::Plan;
use crate::resolve::Resolver;

/// Tells what the target takes from outside: arguments, secrets, SSH agents.
///
/// # Errors
/// The same as those of [`lower`](super::lower).
pub fn outline(
    dockerfile: &Dockerfile,
    source: &str,
    options: &LowerOptions,
    resolver: &mut dyn Resolver,
) -> Result<Outline, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(dockerfile, source, options, resolver);
    let target = lowering.target();
    if let Some(target) = target {
        lowering.stages_of(target);
    }
    let args = lowering.outline_args();
    let plan = lowering.finish(target)?;
    let stage = target.map(|target| &dockerfile.stages[target]);
    let name = stage.and_then(bld_dockerfile::Stage::name);
    let comment = stage.and_then(|stage| stage.comment.as_deref());
    let mut outline = Outline {
        description: name.as_deref().and_then(|name| described(comment, name)),
        name,
        args,
        ..Outline::default()
    };
    outline.add_mounts(&plan);
    Ok(outline)
}

impl Outline {
    fn add_mounts(&mut self, plan: &Plan) {
        let mounts = plan.graph.node_weights().filter_map(|vertex| match &vertex.op {
            Op::Exec(exec) => Some(exec.mounts.iter().map(|mount| (mount, vertex.span))),
            _ => None,
        });
        for (mount, span) in mounts.flatten() {
            let (list, name, required) = match &mount.kind {
                MountKind::Secret { id, required, .. } => (&mut self.secrets, id, *required),
                MountKind::Ssh { id, required, .. } => (&mut self.ssh, id, *required),
                _ => continue,
            };
            match list.iter_mut().find(|known| known.name == *name) {
                Some(known) => known.required |= required,
                None => list.push(OutlineMount { name: name.clone(), required, span }),
            }
        }
    }
}

impl Lowering<'_> {
    /// The arguments that the stages lowered so far use, in source order.
    fn outline_args(&self) -> Vec<OutlineArg> {
        let mut args = Vec::new();
        let mut globals = HashSet::new();
        for stage in self.stages.iter().flatten() {
            let from = &self.file.stages[stage.index].from;
            for word in from.platform.iter().chain([&from.image]) {
                self.mark_used(&word.value, &mut globals);
            }
            for instruction in &self.file.stages[stage.index].instructions {
                for pair in pairs(instruction) {
                    let name = &pair.name.value;
                    let given = self.globals.build_args.contains_key(name);
                    if pair.value.is_none() && !given && self.globals.vars.get(name).is_some() {
                        self.mark_used(&format!("${{{name}}}"), &mut globals);
                    } else {
                        args.push(own_arg(instruction, pair, stage));
                    }
                }
            }
        }
        for instruction in &self.file.global_args {
            for pair in pairs(instruction).iter().filter(|pair| globals.contains(&pair.name.value))
            {
                let value = self.globals.vars.get(&pair.name.value).cloned();
                args.push(outline_arg(instruction, pair, value));
            }
        }
        args.sort_by_key(|arg| arg.span);
        let mut seen = HashSet::new();
        args.retain(|arg| seen.insert(arg.name.clone()));
        args
    }

    /// Notes the global arguments that `word` uses, and those that their defaults use.
    fn mark_used(&self, word: &str, used: &mut HashSet<String>) {
        let Ok(template) = self.expander.parse(word) else { return };
        for variable in template.variables() {
            let name = variable.name.as_str();
            if used.insert(name.to_owned()) {
                let defaults = self.file.global_args().filter(|pair| pair.name.value == name);
                for default in defaults.filter_map(|pair| pair.value.as_ref()) {
                    self.mark_used(&default.value, used);
                }
            }
        }
    }
}

fn pairs(instruction: &Instruction) -> &[ArgPair] {
    match &instruction.kind {
        InstructionKind::Arg(pairs) => pairs,
        _ => &[],
    }
}

fn own_arg(instruction: &Instruction, pair: &ArgPair, stage: &Stage) -> OutlineArg {
    let value = stage.scope.arg(&pair.name.value).map(str::to_owned);
    outline_arg(instruction, pair, value)
}

fn outline_arg(instruction: &Instruction, pair: &ArgPair, value: Option<String>) -> OutlineArg {
    let name = pair.name.value.clone();
    let description = described(instruction.comment.as_deref(), &name);
    OutlineArg { description, value, span: pair.name.span, name }
}
