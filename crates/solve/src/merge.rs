//! Long lines of snapshots.

use bld_store::{Run, SnapshotId, Store};

use crate::error::StepFailure;

/// Merges layers of a long line of snapshots that ends with `id`, so that what is put on it has few
/// enough layers to be mounted, and quickly.
///
/// What stands in the way of that is no error: with too many layers, mounting says so.
pub fn merge_layers(store: &Store, id: SnapshotId) {
    for run in store.unmerged(id).unwrap_or_default() {
        if merge(store, &run).is_err() {
            return;
        }
    }
}

fn merge(store: &Store, run: &Run) -> Result<(), StepFailure> {
    let merged = store.scratch()?;
    bld_layer::merge(run.layers(), &merged.path())?;
    Ok(store.put_merged(run, &merged)?)
}
