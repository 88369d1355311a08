//! Why a step was not known, told against the nearest earlier record.
//!
//! Nothing of this decides anything, and none of it happens in a build whose steps are all known.
//! The work is bounded: a few dozen records are looked at, and of those of one only the files.

mod fields;
mod files;
mod inputs;
mod nearest;
mod previous;
mod words;

use std::sync::OnceLock;

use bld_event::{Miss, MissKind};
use bld_graph::Op;
use bld_layer::copy::Listing;
use serde_json::Value;

pub(crate) use previous::Previous;

use crate::error::StepFailure;
use crate::solver::Build;
use crate::step::Tree;

/// Most changes of one step that are told; of more, their number.
const MOST_CHANGES: usize = 100;

/// What is told of a step whose result was removed.
const GONE: &str = "its earlier result was removed from the cache";

/// A step as it is compared with its earlier selves.
pub(crate) struct Portrait {
    /// The operation, field by field, as it is kept in the step's record.
    pub(crate) fields: Value,
    /// The files of each input, listed when they are needed.
    listings: Vec<OnceLock<Option<Listing>>>,
}

impl Portrait {
    /// The step `index`.
    pub(crate) fn of(build: &Build, index: usize) -> Self {
        let inputs = build.steps[index].inputs.iter();
        Self {
            fields: fields::of(build, index),
            listings: inputs.map(|_| OnceLock::new()).collect(),
        }
    }

    /// The files of the `number`th input, if it is a local context.
    fn listing(&self, build: &Build, index: usize, number: usize) -> Option<&Listing> {
        let input = build.steps[index].inputs.get(number)?.input;
        self.listings.get(number)?.get_or_init(|| files::now(build, index, input)).as_ref()
    }

    /// Keeps which files the step took of local contexts, for later builds to compare theirs with.
    /// Its record is there already.
    pub(crate) fn keep_files(&self, build: &Build, index: usize) {
        for (number, input) in build.steps[index].inputs.iter().enumerate() {
            if matches!(build.trees[input.step].get(), Some(Tree::Context(_))) {
                let listing = || self.listing(build, index, number)?.encode().ok();
                // Without it, a later build says less.
                let _ = build.env.store.put_listing(&input.definition, listing);
            }
        }
    }
}

/// What is known of a step that missed, for those that come after it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    kind: MissKind,
    /// The steps where the change began: itself, or what it follows.
    causes: Vec<usize>,
}

/// Why step `index`, of which `portrait` is one, was not known.
pub(crate) fn miss(build: &Build, index: usize, portrait: &Portrait) -> Result<Miss, StepFailure> {
    let found = reason(build, index, portrait)?;
    let causes: Vec<usize> =
        if found.kind == MissKind::Follows { found.causes } else { vec![index] };
    let mut miss = Miss {
        kind: found.kind,
        changes: found.changes,
        causes: causes
            .iter()
            .filter(|&&cause| cause != index)
            .map(|&c| build.steps[c].id)
            .collect(),
        advice: found.advice,
    };
    let surplus = miss.changes.len().saturating_sub(MOST_CHANGES);
    if surplus > 0 {
        miss.changes.truncate(MOST_CHANGES);
        miss.changes.push(format!("{surplus} more"));
    }
    let _ = build.told[index].set(Told { kind: found.kind, causes });
    Ok(miss)
}

/// Step `index` is the same as step `twin`, of which all has been told.
pub(crate) fn twin(build: &Build, index: usize, twin: usize) {
    if let Some(told) = build.told[twin].get() {
        let _ = build.told[index].set(told.clone());
    }
}

/// A reason before it is told.
struct Reason {
    kind: MissKind,
    changes: Vec<String>,
    causes: Vec<usize>,
    advice: Option<String>,
}

fn reason(build: &Build, index: usize, portrait: &Portrait) -> Result<Reason, StepFailure> {
    let simple = |kind, change: &str| Reason {
        kind,
        changes: vec![change.to_owned()],
        causes: Vec::new(),
        advice: None,
    };
    if build.vertex(index).no_cache {
        return Ok(simple(MissKind::Forced, "made anew, as was asked for (--no-cache)"));
    }
    let Some(record) = nearest::find(build, index, &portrait.fields)? else {
        let had = |previous: &Previous| previous.had(build.steps[index].definition);
        return Ok(if build.previous.get().is_some_and(had) {
            simple(MissKind::Gone, GONE)
        } else {
            simple(MissKind::New, "no earlier build here has had this step")
        });
    };
    let own = fields::compare(&record.fields, &portrait.fields);
    let inputs = inputs::compare(build, index, portrait, &record);
    let advice = advice(build, index, &own, &inputs);
    let is_itself = own.is_empty() && inputs.files.is_empty();
    if is_itself && inputs.follows.is_empty() {
        return Ok(simple(MissKind::Gone, GONE));
    }
    let kind = match (is_itself, inputs.moved, inputs.causes.is_empty()) {
        (true, true, _) => MissKind::Moved,
        (true, false, false) => MissKind::Follows,
        _ => MissKind::Changed,
    };
    let changes = [own, inputs.files, inputs.arrived, inputs.follows].concat();
    Ok(Reason { kind, changes, causes: inputs.causes, advice })
}

/// What would help the next time, where that is certain.
fn advice(
    build: &Build,
    index: usize,
    own: &[String],
    inputs: &inputs::Differences,
) -> Option<String> {
    if !inputs.follows.is_empty() {
        return None;
    }
    match build.op(index) {
        Op::Exec(op) if !own.is_empty() && inputs.files.is_empty() => {
            let texts = op.args.iter().chain(op.scripts.iter().map(|script| &script.content));
            let command = texts.map(String::as_str).collect::<Vec<_>>().join(" ");
            let unnamed = |change: &String| {
                let name = change.strip_prefix("ARG ")?.split(' ').next()?.to_owned();
                (!command.contains(&name)).then_some(name)
            };
            let names = own.iter().map(unnamed).collect::<Option<Vec<_>>>()?;
            let names = names.join(" and ");
            Some(format!(
                "the command does not name {names}: unless it is read in another way, declare it \
                 below this step"
            ))
        }
        Op::Copy(_) if own.is_empty() && !inputs.files.is_empty() => {
            let unneeded = |change: &String| {
                let file = change.split(' ').next()?;
                ["Dockerfile", ".dockerignore"].into_iter().find(|name| *name == file)
            };
            let names = inputs.files.iter().map(unneeded).collect::<Option<Vec<_>>>()?;
            Some(format!("add {} to .dockerignore, unless the image needs it", names.join(" and ")))
        }
        _ => None,
    }
}

/// A step as messages call it, in one line of limited length.
fn called(name: &str) -> String {
    words::short(&name.replace('\n', " "))
}
