//! What keeps things: containers, images and cache records.

use std::collections::{HashMap, HashSet};

use bld_oci::Digest;
use rusqlite::Connection;

use super::pass::{Limits, Seized};
use super::{Doomed, Graph};
use crate::error::Result;
use crate::flock::Lock;
use crate::store::Inner;
use crate::{SnapshotId, db};

/// What names things, as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Images to forget.
    pub(super) dangling: Vec<Digest>,
    /// Locks on their configs, so that nobody takes one of them up meanwhile.
    pub(super) locks: HashMap<Digest, Option<Lock>>,
    /// There are more to forget than fit in one pass.
    pub(super) more: bool,
    /// Configs and manifests of the images that stay, and what is said about them.
    documents: HashSet<Digest>,
    /// Layers of the images that stay.
    layers: HashSet<Digest>,
}

impl Roots {
    /// Finds the roots that are not `doomed`, and marks in `graph` what they keep.
    pub(super) fn mark(
        inner: &Inner,
        db: &Connection,
        doomed: &Doomed,
        limits: Limits,
        graph: &mut Graph,
    ) -> Result<Self> {
        let mut roots = Self::default();
        mark_containers(db, graph)?;
        roots.mark_images(inner, db, doomed, limits, graph)?;
        Self::mark_records(db, doomed, graph)?;
        Ok(roots)
    }

    /// To be called when only what containers lie on is marked.
    fn mark_images(
        &mut self,
        inner: &Inner,
        db: &Connection,
        doomed: &Doomed,
        limits: Limits,
        graph: &mut Graph,
    ) -> Result<()> {
        let mut select = db.prepare_cached(
            "SELECT id, manifest, layers, snapshot,
                 NOT EXISTS (SELECT 1 FROM tags WHERE image = images.id)
                 AND NOT EXISTS (SELECT 1 FROM variants WHERE image = images.id)
                 AND NOT EXISTS (SELECT 1 FROM repo_digests WHERE image = images.id),
                 said
             FROM images",
        )?;
        let mut kept: Vec<SnapshotId> = Vec::new();
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let id = db::digest(row, 0)?;
            let snapshot: Option<SnapshotId> = row.get(3)?;
            let dangling = doomed.dangling_images
                && row.get(4)?
                && !snapshot.is_some_and(|id| graph.is_live(id));
            if dangling && self.take_image(inner, doomed, limits, id)? {
                continue;
            }
            self.documents.insert(id);
            self.documents.extend(db::optional_digest(row, 1)?);
            self.documents.extend(db::optional_digest(row, 5)?);
            let layers = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            self.layers.extend(layers.as_chunks().0.iter().copied().map(Digest::from_bytes));
            kept.extend(snapshot);
        }
        for id in kept {
            graph.mark(id);
        }
        Ok(())
    }

    /// Whether a dangling image can go: not if a process holds its config, which it does from
    /// putting an image until it has a name.
    fn take_image(
        &mut self,
        inner: &Inner,
        doomed: &Doomed,
        limits: Limits,
        id: Digest,
    ) -> Result<bool> {
        if self.dangling.len() == limits.objects {
            self.more = true;
            return Ok(false);
        }
        let Seized::Free(lock) = inner.seize_blob(&id)? else { return Ok(false) };
        if !doomed.dry_run {
            self.locks.insert(id, lock);
        }
        self.dangling.push(id);
        Ok(true)
    }

    /// The snapshots of records and of failed steps, unless they are given up.
    fn mark_records(db: &Connection, doomed: &Doomed, graph: &mut Graph) -> Result<()> {
        for sql in [
            "SELECT snapshot, used FROM records WHERE snapshot IS NOT NULL",
            "SELECT snapshot, created FROM steps WHERE failed",
        ] {
            let mut select = db.prepare_cached(sql)?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                let (id, used) = (row.get(0)?, db::time(row.get(1)?));
                if doomed.snapshots.get(&id).is_none_or(|until| used > *until) {
                    graph.mark(id);
                }
            }
        }
        Ok(())
    }

    /// The blobs that the roots and the live snapshots keep.
    pub(super) fn live_blobs(&self, db: &Connection, graph: &Graph) -> Result<HashSet<Digest>> {
        let mut layers = self.layers.clone();
        layers.extend(graph.live_diff_ids());
        let mut live = self.documents.clone();
        let mut select = db.prepare_cached("SELECT diff_id, digest FROM layer_blobs")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            if layers.contains(&db::digest(row, 0)?) {
                live.insert(db::digest(row, 1)?);
            }
        }
        Ok(live)
    }
}

/// Marks the layers of containers and what they lie on. A layer whose container is gone is being
/// made, and held, or rubbish.
fn mark_containers(db: &Connection, graph: &mut Graph) -> Result<()> {
    let mut select = db.prepare_cached(
        "SELECT snapshots.id FROM snapshots JOIN containers ON container = containers.id",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        graph.mark(row.get(0)?);
    }
    Ok(())
}
