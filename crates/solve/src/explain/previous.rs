//! The build before this one: what most people mean when they ask what has changed.

use std::sync::OnceLock;

use bld_graph::ContextOp;
use bld_oci::Digest;
use bld_store::{Record, Store};

use crate::solver::Build;

/// The steps of the previous build of the same target of the same context.
pub(crate) struct Previous {
    definitions: Vec<Digest>,
    records: OnceLock<Vec<Record>>,
}

impl Previous {
    /// Finds the previous build, and puts this one in its place.
    pub(crate) fn replace(build: &Build) -> Self {
        let store = &build.env.store;
        let context = build.env.contexts.get(ContextOp::MAIN);
        let name = context.map(|context| context.name()).unwrap_or_default();
        let project = format!("{name}:{}", build.target);
        let known = store.steps_of_last_build(&project).unwrap_or_default();
        let sources = |index: usize| build.op(index).is_source();
        let steps = build.steps.iter().enumerate().filter(|(index, _)| !sources(*index));
        let now: Vec<Digest> = steps.filter_map(|(_, step)| step.definition).collect();
        if now != known {
            // Without it, the next build has other earlier ones to be compared with.
            let _ = store.put_steps_of_last_build(&project, &now);
        }
        Self { definitions: known, records: OnceLock::new() }
    }

    /// Whether the step was part of it.
    pub(super) fn had(&self, definition: Option<Digest>) -> bool {
        definition.is_some_and(|definition| self.definitions.contains(&definition))
    }

    /// The records of its steps, as far as they are there.
    pub(super) fn records(&self, store: &Store) -> &[Record] {
        let find = |definition| store.find_record(definition).ok().flatten();
        self.records.get_or_init(|| self.definitions.iter().filter_map(find).collect())
    }
}
