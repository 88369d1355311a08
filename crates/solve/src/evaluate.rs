//! One step from lookup to record.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use bld_event::{EventKind, Hit};
use bld_graph::{Input, Op};
use bld_oci::Digest;
use bld_store::{Record, RecordInput, SnapshotId, StoreError};

use crate::error::{StepError, StepFailure};
use crate::execute::Traces;
use crate::explain::{self, Portrait};
use crate::flight::Turn;
use crate::solver::Build;
use crate::step::{Step, StepInput, Tree};
use crate::traced::{self, TracedCache};
use crate::{content, duration, execute, flight, shared};

/// Earlier records of one operation that are compared by content before the step runs.
const CANDIDATES: usize = 8;

/// What the records say of a definition.
pub(crate) enum Known {
    /// A snapshot that exists and is held from now on, so that no collection takes it.
    Result(SnapshotId),
    /// A result that was made of the former result of an input. What was made of it in turn is not
    /// to be had by definition either.
    Former,
    /// Nothing.
    Nothing,
}

/// The recorded result of a step by its definition, unless the step has to be done again.
pub(crate) fn by_definition(build: &Build, step: &Step) -> Result<Known, StoreError> {
    match step.definition {
        Some(definition) if !step.forced => recorded(build, step, &definition),
        _ => Ok(Known::Nothing),
    }
}

/// The same even if the step has to be done again.
pub(crate) fn recorded(
    build: &Build,
    step: &Step,
    definition: &Digest,
) -> Result<Known, StoreError> {
    let Some(record) = build.env.store.find_record(definition)? else { return Ok(Known::Nothing) };
    let is_former = |input: &StepInput| {
        recorded_input(&record.inputs, input)
            .is_some_and(|recorded| !is_current(build, input, recorded))
    };
    Ok(match record.snapshot {
        Some(_) if step.inputs.iter().any(is_former) => Known::Former,
        Some(id) if build.env.lease.hold(id)? => Known::Result(id),
        _ => Known::Nothing,
    })
}

/// Whether `recorded` tells of the very tree that `input` delivers now, if it is known by then. A
/// step that was run again may have made something else under the same definition: what was made of
/// its former result has to be compared by content.
pub(crate) fn is_current(build: &Build, input: &StepInput, recorded: &RecordInput) -> bool {
    let now = build.trees[input.step].get().and_then(Tree::snapshot);
    // What a source delivers is known by its definition, wherever it lies.
    build.op(input.step).is_source()
        || now.is_none()
        || recorded.snapshot.is_none_or(|then| now == Some(then))
}

/// What `record` says of `input`.
pub(crate) fn recorded_input<'a>(
    record: &'a [RecordInput],
    input: &StepInput,
) -> Option<&'a RecordInput> {
    let role = StepInput::role(input.input);
    record.iter().find(|recorded| recorded.name == role)
}

/// Brings the result of `index` about and puts it in its place; tells whether that took work. It is
/// that of `twin` if there is one, which is done.
pub(crate) fn evaluate(
    build: &Build,
    index: usize,
    twin: Option<usize>,
) -> Result<bool, Box<StepError>> {
    let mut traces = Traces::default();
    let result = if build.cancel.is_canceled() {
        Err(StepFailure::Canceled)
    } else if let Some(of) = twin
        && let Some(twin) = build.trees[of].get().and_then(Tree::snapshot)
    {
        build.emit(index, EventKind::Cached(Hit::Twin));
        explain::twin(build, index, of);
        Ok((twin, false))
    } else {
        result(build, index, &mut traces)
    };
    match result {
        Ok((snapshot, worked)) => {
            let _ = build.trees[index].set(Tree::Snapshot(snapshot));
            Ok(worked)
        }
        Err(cause) => {
            let cause = if build.cancel.is_canceled() { StepFailure::Canceled } else { cause };
            let vertex = build.vertex(index);
            let step = &build.steps[index];
            let before = step.inputs.iter().find(|input| input.input == Input::Root);
            Err(Box::new(StepError {
                name: vertex.name.clone(),
                span: vertex.span,
                cause,
                full: traces.full,
                log: traces.log,
                left: step.definition.filter(|_| traces.kept),
                before: before.and_then(|input| build.steps[input.step].definition),
            }))
        }
    }
}

/// The result of step `index`, and whether it had to be made.
fn result(
    build: &Build,
    index: usize,
    traces: &mut Traces,
) -> Result<(SnapshotId, bool), StepFailure> {
    let step = &build.steps[index];
    let vertex = build.vertex(index);
    if let Op::Image(image) = &vertex.op {
        build.emit(index, EventKind::Started);
        let unpack = || {
            let unpacked = build.env.images.unpack(image, &vertex.platform, step.id);
            unpacked.map_err(StepFailure::Image)
        };
        let mut id = unpack()?;
        if !build.env.lease.hold(id)? {
            // Another process has removed it in between.
            id = unpack()?;
            if !build.env.lease.hold(id)? {
                return Err(StoreError::MissingSnapshot { id }.into());
            }
        }
        build.keep_source(index, id)?;
        build.emit(index, EventKind::Done);
        return Ok((id, true));
    }
    let Some(definition) = step.definition else {
        return Err(StepFailure::Unsupported(format!("{} gives no result", vertex.op.kind())));
    };
    let known = |snapshot, how: Hit| {
        build.emit(index, EventKind::Cached(how));
        Ok((snapshot, false))
    };
    build.bring_inputs(index)?;
    let portrait = Portrait::of(build, index);
    if !vertex.no_cache
        && let Some(snapshot) = by_content(build, index)?
    {
        enter(build, index, definition, snapshot, &portrait, &[])?;
        return known(snapshot, Hit::Content { same: made_anew(build, index) });
    }
    if !vertex.no_cache
        && let Some((snapshot, from)) = shared::by_content(build, index)?
    {
        return known(snapshot, Hit::Imported { from, same: made_anew(build, index) });
    }
    let (_lock, has_started) = match flight::turn(build, index, &definition, traces)? {
        Turn::Ours { lock, has_waited } => (lock, has_waited),
        Turn::Done(snapshot) => return known(snapshot, Hit::Elsewhere),
        Turn::Failed(failure) => return Err(failure),
    };
    if !vertex.no_cache
        && let Some(layer) = by_link(build, index)?
    {
        let snapshot = execute::relink(build, index, layer)?;
        enter(build, index, definition, snapshot, &portrait, &[])?;
        return known(snapshot, Hit::Linked);
    }
    let by_reads = if vertex.no_cache { None } else { by_reads(build, index)? };
    if let Some(earlier) = by_reads
        && build.env.traced == TracedCache::Use
    {
        let snapshot = traced::reuse(build, index, earlier)?;
        enter(build, index, definition, snapshot, &portrait, &[])?;
        return known(snapshot, Hit::Reads);
    }
    build.emit(index, EventKind::Missed(explain::miss(build, index, &portrait)?));
    if !has_started {
        build.emit(index, EventKind::Started);
    }
    let began = Instant::now();
    let (snapshot, drifted) = execute::execute(build, index, traces)?;
    duration::remember(build, index, began.elapsed())?;
    if let Some(earlier) = by_reads {
        traced::verify(build, index, earlier, snapshot)?;
    }
    if drifted {
        build.drifted[index].store(true, Ordering::Relaxed);
        let message = "files of the context changed while they were read: \
                       the result is used, but not kept for later builds";
        build.emit(index, EventKind::Warning { message: message.to_owned(), url: None });
    } else {
        enter(build, index, definition, snapshot, &portrait, &[])?;
    }
    build.emit(index, EventKind::Done);
    Ok((snapshot, true))
}

/// Keeps what step `index` made, for later builds and for people. What was made of something else
/// than its definition says is not to be found by that. `told` is what somebody else says of the
/// inputs.
pub(crate) fn enter(
    build: &Build,
    index: usize,
    definition: Digest,
    snapshot: SnapshotId,
    portrait: &Portrait,
    told: &[RecordInput],
) -> Result<(), StoreError> {
    let step = &build.steps[index];
    let drifted = |input: &StepInput| build.drifted[input.step].load(Ordering::Relaxed);
    if step.inputs.iter().any(drifted) {
        build.drifted[index].store(true, Ordering::Relaxed);
        return Ok(());
    }
    build.env.store.put_record(&Record {
        definition,
        op: step.op,
        scope: step.scope.clone(),
        snapshot: Some(snapshot),
        inputs: step.inputs.iter().map(|input| record_input(build, input, told)).collect(),
        fields: portrait.fields.clone(),
        created: SystemTime::now(),
    })?;
    portrait.keep_files(build, index);
    build.keep(index, snapshot)
}

/// The names of the steps that step `index` takes something of and that were made anew.
fn made_anew(build: &Build, index: usize) -> Vec<String> {
    let inputs = build.steps[index].inputs.iter();
    let anew = inputs.filter(|input| build.told[input.step].get().is_some());
    anew.map(|input| build.input_name(input)).collect()
}

fn record_input(build: &Build, input: &StepInput, told: &[RecordInput]) -> RecordInput {
    let told = recorded_input(told, input).and_then(|told| told.content);
    let tree = build.trees[input.step].get();
    let snapshot = tree.and_then(Tree::snapshot);
    RecordInput {
        name: StepInput::role(input.input),
        definition: input.definition,
        snapshot,
        // What is selected of a local context is defined by its content.
        content: match tree {
            Some(Tree::Context(_)) => Some(input.definition),
            _ => told,
        },
    }
}

/// An earlier result of the same operation whose inputs had the content that they have now.
fn by_content(build: &Build, index: usize) -> Result<Option<SnapshotId>, StepFailure> {
    earlier(build, index, |_| true, |_| Ok(true))
}

/// A linked copy's earlier result whose files were the same, whatever it was put on. Only its layer
/// is of use.
fn by_link(build: &Build, index: usize) -> Result<Option<SnapshotId>, StepFailure> {
    match build.op(index) {
        Op::Copy(op) if op.link => {
            let is_here = |then| Ok(build.env.store.is_here(then)?);
            earlier(build, index, |input| input != Input::Root, is_here)
        }
        _ => Ok(None),
    }
}

/// An earlier result of the same process that read nothing that is something else now.
fn by_reads(build: &Build, index: usize) -> Result<Option<SnapshotId>, StepFailure> {
    match (build.env.traced, build.op(index)) {
        (TracedCache::Use | TracedCache::Verify, Op::Exec(_)) => {
            let agrees =
                |then| Ok(build.env.store.is_here(then)? && traced::agrees(build, index, then)?);
            earlier(build, index, |input| input != Input::Root, agrees)
        }
        _ => Ok(None),
    }
}

/// The newest result of the same operation that still exists and agrees in all inputs that `counts`
/// is true of, and of which `fits` is true.
fn earlier(
    build: &Build,
    index: usize,
    counts: impl Fn(Input) -> bool,
    fits: impl Fn(SnapshotId) -> Result<bool, StepFailure>,
) -> Result<Option<SnapshotId>, StepFailure> {
    let step = &build.steps[index];
    'candidates: for candidate in build.env.store.find_by_op(&step.op, CANDIDATES)? {
        let Some(snapshot) = candidate.snapshot else { continue };
        if candidate.inputs.len() != step.inputs.len() {
            continue;
        }
        for input in step.inputs.iter().filter(|input| counts(input.input)) {
            if !same_input(build, index, input, &candidate.inputs)? {
                continue 'candidates;
            }
        }
        if build.env.lease.hold(snapshot)? && fits(snapshot)? {
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
    let Some(recorded) = recorded_input(recorded, input) else { return Ok(false) };
    let is_same = recorded.definition == input.definition;
    if is_same && !build.steps[input.step].forced && is_current(build, input, recorded) {
        return Ok(true);
    }
    let Some(now) = build.trees[input.step].get().and_then(Tree::snapshot) else {
        return Ok(false);
    };
    if Some(now) == recorded.snapshot {
        return Ok(true);
    }
    let digest = |snapshot| content::of_input(build, index, input.input, snapshot);
    let store = &build.env.store;
    match (recorded.content, recorded.snapshot) {
        (Some(then), _) => Ok(digest(now)? == then),
        // Held, as nothing else keeps it from being removed meanwhile. It is not worth to bring
        // files only to compare them.
        (None, Some(then)) if build.env.lease.hold(then)? && store.is_here(then)? => {
            Ok(digest(now)? == digest(then)?)
        }
        _ => Ok(false),
    }
}
