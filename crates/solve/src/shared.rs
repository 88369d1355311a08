//! Results that other machines have made, and files that are somewhere else.
//!
//! A step that the store does not know is asked for among what was offered, by the same two keys. What
//! is taken becomes a record of the store as any other, on snapshots whose files stay where they are
//! until somebody needs them: see [`Store::put_elsewhere`](bld_store::Store::put_elsewhere).
//!
//! Files that turn out not to be had make no build fail: whoever [brings](Shared::bring) them forgets
//! what is made of them, and the build starts again with what is known then.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::Ordering;

use bld_event::VertexId;
use bld_graph::Input;
use bld_oci::Digest;
use bld_store::{CacheName, LayerElsewhere, RecordInput, SnapshotId, StoreError};

use crate::content;
use crate::error::StepFailure;
use crate::evaluate::{enter, recorded_input};
use crate::execute;
use crate::explain::Portrait;
use crate::solver::Build;
use crate::step::Tree;

/// A result that is known elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What the step consumed.
    pub inputs: Vec<RecordInput>,
    /// The layers of the result, lowest first; never none.
    pub layers: Vec<LayerElsewhere>,
    /// What offers it, as users call that.
    pub from: String,
}

/// What is known elsewhere.
pub trait Shared: Send + Sync {
    /// The result of the step with this definition key, of the first place that has one.
    fn find(&self, definition: &Digest) -> Option<Offer>;

    /// Results of this operation, on whatever inputs.
    fn find_by_op(&self, op: &Digest) -> Vec<Offer>;

    /// Brings the files of a snapshot, and of all it lies on, here. Progress is reported on `vertex`.
    ///
    /// # Errors
    /// When they cannot be had. What depends on them is forgotten then, and not offered again.
    fn bring(&self, id: SnapshotId, vertex: VertexId) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Makes the cache mount of this name, which is not here, of what is offered; whether that was done.
    /// A step can do without, so there is no error.
    fn bring_cache_mount(&self, name: &CacheName, vertex: VertexId) -> bool;
}

/// Nothing is shared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Shared for Alone {
    fn find(&self, _: &Digest) -> Option<Offer> {
        None
    }

    fn find_by_op(&self, _: &Digest) -> Vec<Offer> {
        Vec::new()
    }

    fn bring(&self, id: SnapshotId, _: VertexId) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(StoreError::Elsewhere { id }.into())
    }

    fn bring_cache_mount(&self, _: &CacheName, _: VertexId) -> bool {
        false
    }
}

/// A step whose result is known, for others to know it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolvedStep {
    /// Its definition key.
    pub definition: Digest,
    /// Digest of its operation alone.
    pub op: Digest,
    /// What it consumed.
    pub inputs: Vec<RecordInput>,
    /// Its result.
    pub snapshot: SnapshotId,
    /// The cache mounts it has when it runs.
    pub cache_mounts: Vec<CacheName>,
}

/// The result that is offered for the definition of step `index`, which is put into the store; and
/// who offers it.
pub(crate) fn by_definition(
    build: &Build,
    index: usize,
) -> Result<Option<(SnapshotId, String)>, StoreError> {
    let step = &build.steps[index];
    match step.definition {
        Some(definition) if !step.forced => match build.env.shared.find(&definition) {
            Some(offer) => accept(build, index, definition, offer).map(Some),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// A result that is offered for the operation of step `index` on the content that its inputs have.
pub(crate) fn by_content(
    build: &Build,
    index: usize,
) -> Result<Option<(SnapshotId, String)>, StepFailure> {
    let step = &build.steps[index];
    let Some(definition) = step.definition else { return Ok(None) };
    'offers: for offer in build.env.shared.find_by_op(&step.op) {
        if offer.inputs.len() != step.inputs.len() {
            continue;
        }
        for input in &step.inputs {
            let Some(recorded) = recorded_input(&offer.inputs, input) else { continue 'offers };
            if recorded.definition == input.definition && !build.steps[input.step].forced {
                continue;
            }
            let now = build.trees[input.step].get().and_then(Tree::snapshot);
            let (Some(now), Some(then)) = (now, recorded.content) else { continue 'offers };
            if content::of_input(build, index, input.input, now)? != then {
                continue 'offers;
            }
        }
        return Ok(Some(accept(build, index, definition, offer)?));
    }
    Ok(None)
}

fn accept(
    build: &Build,
    index: usize,
    definition: Digest,
    offer: Offer,
) -> Result<(SnapshotId, String), StoreError> {
    let snapshot = build.env.store.put_elsewhere(&offer.layers)?;
    if !build.env.lease.hold(snapshot)? {
        return Err(StoreError::MissingSnapshot { id: snapshot });
    }
    let portrait = Portrait::of(build, index);
    enter(build, index, definition, snapshot, &portrait, &offer.inputs)?;
    Ok((snapshot, offer.from))
}

impl Build {
    /// Brings the files of all that step `index` works on.
    pub(crate) fn bring_inputs(&self, index: usize) -> Result<(), StepFailure> {
        let step = &self.steps[index];
        let snapshots = step.inputs.iter().filter_map(|input| self.trees[input.step].get());
        let snapshots: BTreeSet<SnapshotId> = snapshots.filter_map(Tree::snapshot).collect();
        for id in snapshots {
            if !self.env.store.is_here(id)? {
                self.env.shared.bring(id, step.id).map_err(StepFailure::Elsewhere)?;
            }
        }
        Ok(())
    }

    /// What is known of all steps, for others: those that the target is made of with all before them.
    ///
    /// # Errors
    /// When what steps consumed cannot be read.
    pub(crate) fn describe_steps(&self) -> Result<Vec<SolvedStep>, StepFailure> {
        let mut described = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let snapshot = self.trees[index].get().and_then(Tree::snapshot);
            let (Some(definition), Some(snapshot)) = (step.definition, snapshot) else { continue };
            if self.op(index).is_source() || self.drifted[index].load(Ordering::Relaxed) {
                continue;
            }
            let Some(mut record) = self.env.store.find_record(&definition)? else { continue };
            let mut news = false;
            for input in &step.inputs {
                let name = crate::step::StepInput::role(input.input);
                let recorded = record.inputs.iter_mut().find(|recorded| recorded.name == name);
                let Some(recorded) = recorded.filter(|recorded| recorded.content.is_none()) else {
                    continue;
                };
                recorded.content = self.content_if_here(index, input.input, input.step)?;
                news |= recorded.content.is_some();
            }
            if news {
                self.env.store.put_record(&record)?;
            }
            let cache_mounts = execute::cache_mounts(self, index);
            let (op, inputs) = (step.op, record.inputs);
            described.push(SolvedStep { definition, op, inputs, snapshot, cache_mounts });
        }
        Ok(described)
    }

    fn content_if_here(
        &self,
        index: usize,
        input: Input,
        from: usize,
    ) -> Result<Option<Digest>, StepFailure> {
        let Some(snapshot) = self.trees[from].get().and_then(Tree::snapshot) else {
            return Ok(None);
        };
        let known = match input {
            Input::Root => self.env.store.snapshot(snapshot)?.and_then(|info| info.content),
            Input::From(_) => None,
        };
        if known.is_some() || !self.env.store.is_here(snapshot)? {
            return Ok(known);
        }
        content::of_input(self, index, input, snapshot).map(Some)
    }
}
