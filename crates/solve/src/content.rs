//! Digests of what an input really delivered, for early cutoff.

use bld_graph::Input;
use bld_layer::{TarOptions, diff_id};
use bld_oci::{Digest, Hasher};
use bld_store::SnapshotId;

use crate::error::StepFailure;
use crate::select;
use crate::solver::Build;

/// Digest of what step `index` consumes of `snapshot` when it takes it as `input`.
pub(crate) fn of_input(
    build: &Build,
    index: usize,
    input: Input,
    snapshot: SnapshotId,
) -> Result<Digest, StepFailure> {
    match input {
        Input::Root => of_snapshot(build, snapshot),
        Input::From(_) => select::snapshot_digest(build.vertex(index), input, snapshot, &build.env),
    }
}

/// Digest of a whole filesystem: of its layers one by one, without times.
///
/// Two filesystems that are equal but were made by other layers differ; in exchange it costs only
/// what the layer holds, and each layer is digested once in its life.
fn of_snapshot(build: &Build, snapshot: SnapshotId) -> Result<Digest, StepFailure> {
    let store = &build.env.store;
    let mut content: Option<Digest> = None;
    for id in store.ancestry(snapshot)? {
        let Some(info) = store.snapshot(id)? else {
            return Err(bld_store::StoreError::MissingSnapshot { id }.into());
        };
        if info.content.is_some() {
            content = info.content;
            continue;
        }
        let layer = store.layer(id);
        // With every time clamped to the epoch, the canonical tar holds just what may count.
        let (own, _) =
            diff_id(&layer, &TarOptions { clamp_mtime: Some(0), ..TarOptions::default() })?;
        let mut hasher = Hasher::new();
        if let Some(below) = content {
            hasher.update(below.as_bytes());
        }
        hasher.update(own.as_bytes());
        let digest = hasher.finish();
        store.set_content(id, &digest)?;
        content = Some(digest);
    }
    content.ok_or_else(|| bld_store::StoreError::MissingSnapshot { id: snapshot }.into())
}
