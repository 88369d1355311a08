//! One step from lookup to record.

use std::fmt;
use std::time::SystemTime;

use bld_event::EventKind;
use bld_graph::Op;
use bld_oci::Digest;
use bld_store::{Record, RecordInput, SnapshotId};

use crate::error::{StepError, StepFailure};
use crate::solver::Build;
use crate::step::{self, Step, StepInput, Tree};
use crate::{content, execute, explain};

/// Earlier records of one operation that are compared by content before the step runs.
const CANDIDATES: usize = 8;

/// How a result was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The same operation on inputs of the same definition.
    Definition,
    /// The same operation on inputs of the same content.
    Content,
    /// Another process made it while this one waited.
    Elsewhere,
    /// Nothing that runs needs it.
    Unneeded,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definition => "definition",
            Self::Content => "content",
            Self::Elsewhere => "made by another build",
            Self::Unneeded => "not needed",
        })
    }
}

/// The recorded result of a step by its definition, unless the step has to be done again.
pub(crate) fn by_definition(
    build: &Build,
    step: &Step,
) -> Result<Option<SnapshotId>, bld_store::StoreError> {
    match step.definition {
        Some(definition) if !step.forced => recorded(build, &definition),
        _ => Ok(None),
    }
}

/// A recorded snapshot that still exists and is held from now on, so that no collection takes it.
fn recorded(
    build: &Build,
    definition: &Digest,
) -> Result<Option<SnapshotId>, bld_store::StoreError> {
    let Some(record) = build.env.store.find_record(definition)? else { return Ok(None) };
    match record.snapshot {
        Some(id) if build.env.lease.hold(id)? => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// Brings the result of `index` about and puts it in its place.
pub(crate) fn evaluate(build: &Build, index: usize) -> Result<(), Box<StepError>> {
    let mut log = None;
    let result = if build.cancel.is_canceled() {
        Err(StepFailure::Canceled)
    } else {
        result(build, index, &mut log)
    };
    match result {
        Ok(snapshot) => {
            let _ = build.trees[index].set(Tree::Snapshot(snapshot));
            Ok(())
        }
        Err(cause) => {
            let cause = if build.cancel.is_canceled() { StepFailure::Canceled } else { cause };
            let vertex = build.vertex(index);
            Err(Box::new(StepError { name: vertex.name.clone(), span: vertex.span, cause, log }))
        }
    }
}

fn result(
    build: &Build,
    index: usize,
    log: &mut Option<std::path::PathBuf>,
) -> Result<SnapshotId, StepFailure> {
    let step = &build.steps[index];
    let vertex = build.vertex(index);
    if let Op::Image(image) = &vertex.op {
        build.emit(index, EventKind::Started);
        let id = build
            .env
            .images
            .unpack(image, &vertex.platform, step.id)
            .map_err(StepFailure::Image)?;
        build.emit(index, EventKind::Done);
        return Ok(id);
    }
    let Some(definition) = step.definition else {
        return Err(StepFailure::Unsupported(format!("{} gives no result", vertex.op.kind())));
    };
    let store = &build.env.store;
    let record = |snapshot, log: Option<&std::path::Path>| Record {
        definition,
        op: step.op,
        scope: step.scope.clone(),
        snapshot: Some(snapshot),
        inputs: step.inputs.iter().map(|input| record_input(build, input)).collect(),
        fields: explain::fields(vertex),
        created: SystemTime::now(),
        log: log.map(|log| log.to_string_lossy().into_owned()),
    };

    if !vertex.no_cache
        && let Some(snapshot) = by_content(build, index)?
    {
        store.put_record(&record(snapshot, None))?;
        build.emit(index, EventKind::Cached { how: How::Content.to_string() });
        return Ok(snapshot);
    }
    let _lock = store.lock(&definition.hex())?;
    if let Some(snapshot) = by_definition(build, step)? {
        build.emit(index, EventKind::Cached { how: How::Elsewhere.to_string() });
        return Ok(snapshot);
    }
    if let Some(why) = explain::miss(build, index)? {
        build.emit(index, EventKind::Missed { why });
    }
    build.emit(index, EventKind::Started);
    let snapshot = execute::execute(build, index, log)?;
    if step::contexts_changed(build, index)? {
        let message = "files of the context changed while they were read: \
                       the result is used, but not kept for later builds";
        build.emit(index, EventKind::Warning { message: message.to_owned() });
    } else {
        store.put_record(&record(snapshot, log.as_deref()))?;
    }
    build.emit(index, EventKind::Done);
    Ok(snapshot)
}

fn record_input(build: &Build, input: &StepInput) -> RecordInput {
    let tree = build.trees[input.step].get();
    let snapshot = tree.and_then(Tree::snapshot);
    RecordInput {
        name: StepInput::role(input.input),
        definition: input.definition,
        snapshot,
        // What is selected of a local context is defined by its content.
        content: if snapshot.is_none() { Some(input.definition) } else { None },
    }
}

/// An earlier result of the same operation whose inputs had the content that they have now.
fn by_content(build: &Build, index: usize) -> Result<Option<SnapshotId>, StepFailure> {
    let step = &build.steps[index];
    for candidate in build.env.store.find_by_op(&step.op, CANDIDATES)? {
        let Some(snapshot) = candidate.snapshot else { continue };
        if candidate.inputs.len() == step.inputs.len()
            && step.inputs.iter().try_fold(true, |same, input| {
                Ok::<_, StepFailure>(same && same_input(build, index, input, &candidate.inputs)?)
            })?
            && build.env.lease.hold(snapshot)?
        {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

fn same_input(
    build: &Build,
    index: usize,
    input: &StepInput,
    recorded: &[RecordInput],
) -> Result<bool, StepFailure> {
    let role = StepInput::role(input.input);
    let Some(recorded) = recorded.iter().find(|recorded| recorded.name == role) else {
        return Ok(false);
    };
    if recorded.definition == input.definition && !build.steps[input.step].forced {
        return Ok(true);
    }
    let Some(now) = build.trees[input.step].get().and_then(Tree::snapshot) else {
        return Ok(false);
    };
    let Some(then) = recorded.snapshot else { return Ok(false) };
    if now == then {
        return Ok(true);
    }
    if build.env.store.snapshot(then)?.is_none() {
        return Ok(false);
    }
    let digest = |snapshot| content::of_input(build, index, input.input, snapshot);
    Ok(digest(now)? == digest(then)?)
}
