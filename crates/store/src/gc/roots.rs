//! What keeps things: containers, images and cache records.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use bld_oci::Digest;
use rusqlite::Connection;

use super::pass::{Limits, Seized};
use super::{GcPolicy, Graph};
use crate::error::Result;
use crate::flock::Lock;
use crate::store::Inner;
use crate::{SnapshotId, db};

/// What names things, as far as the policy keeps it.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Images to forget.
    pub(super) dangling: Vec<Digest>,
    /// Locks on their configs, so that nobody takes one of them up meanwhile.
    pub(super) locks: HashMap<Digest, Option<Lock>>,
    /// There are more to forget than fit in one pass.
    pub(super) more: bool,
    /// Cache records to forget.
    pub(super) stale: Vec<i64>,
    /// Failed steps to forget.
    pub(super) failures: Vec<Digest>,
    /// Configs and manifests of the images that stay.
    documents: HashSet<Digest>,
    /// Layers of the images that stay.
    layers: HashSet<Digest>,
}

impl Roots {
    /// Finds the roots that `policy` keeps, and marks in `graph` what they keep.
    pub(super) fn mark(
        inner: &Inner,
        db: &Connection,
        policy: &GcPolicy,
        limits: Limits,
        graph: &mut Graph,
    ) -> Result<Self> {
        let mut roots = Self::default();
        mark_containers(db, graph)?;
        roots.mark_images(inner, db, policy, limits, graph)?;
        roots.mark_records(db, policy, limits, graph)?;
        Ok(roots)
    }

    /// To be called when only what containers lie on is marked.
    fn mark_images(
        &mut self,
        inner: &Inner,
        db: &Connection,
        policy: &GcPolicy,
        limits: Limits,
        graph: &mut Graph,
    ) -> Result<()> {
        let mut select = db.prepare_cached(
            "SELECT id, manifest, layers, snapshot,
                 NOT EXISTS (SELECT 1 FROM tags WHERE image = images.id)
                 AND NOT EXISTS (SELECT 1 FROM repo_digests WHERE image = images.id)
             FROM images",
        )?;
        let mut kept: Vec<SnapshotId> = Vec::new();
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let id = db::digest(row, 0)?;
            let snapshot: Option<SnapshotId> = row.get(3)?;
            let dangling = policy.dangling_images
                && row.get(4)?
                && !snapshot.is_some_and(|id| graph.is_live(id));
            if dangling && self.take_image(inner, policy, limits, id)? {
                continue;
            }
            self.documents.insert(id);
            self.documents.extend(db::optional_digest(row, 1)?);
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
        policy: &GcPolicy,
        limits: Limits,
        id: Digest,
    ) -> Result<bool> {
        if self.dangling.len() == limits.objects {
            self.more = true;
            return Ok(false);
        }
        let Seized::Free(lock) = inner.seize_blob(&id)? else { return Ok(false) };
        if !policy.dry_run {
            self.locks.insert(id, lock);
        }
        self.dangling.push(id);
        Ok(true)
    }

    /// To be called when all that others keep is marked: the budget is for what only the cache does.
    fn mark_records(
        &mut self,
        db: &Connection,
        policy: &GcPolicy,
        limits: Limits,
        graph: &mut Graph,
    ) -> Result<()> {
        let cutoff = policy.unused_for.map(|age| {
            db::nanoseconds(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
        });
        let mut budget = policy.keep_bytes.unwrap_or(u64::MAX);
        let mut select = db
            .prepare_cached("SELECT id, snapshot, used FROM records ORDER BY used DESC, id DESC")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let snapshot: Option<SnapshotId> = row.get(1)?;
            let used: i64 = row.get(2)?;
            let cost = snapshot.map_or(0, |id| graph.cost(id));
            let stale = cutoff.is_some_and(|cutoff| used <= cutoff) || cost > budget;
            if cost > budget {
                budget = 0; // something older, if smaller, must not outlive this
            }
            if stale && self.stale.len() < limits.records {
                self.stale.push(row.get(0)?);
                continue;
            }
            self.more |= stale;
            budget = budget.saturating_sub(cost);
            if let Some(id) = snapshot {
                graph.mark(id);
            }
        }
        self.mark_failures(db, cutoff, budget, graph)
    }

    /// Failed steps have what is left of the budget: whoever looks into one does it soon.
    fn mark_failures(
        &mut self,
        db: &Connection,
        cutoff: Option<i64>,
        mut budget: u64,
        graph: &mut Graph,
    ) -> Result<()> {
        let mut select = db.prepare_cached(
            "SELECT id, snapshot, created FROM steps WHERE failed ORDER BY created DESC",
        )?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let (snapshot, created): (SnapshotId, i64) = (row.get(1)?, row.get(2)?);
            let cost = graph.cost(snapshot);
            if cutoff.is_some_and(|cutoff| created <= cutoff) || cost > budget {
                self.failures.push(db::digest(row, 0)?);
            } else {
                budget -= cost;
                graph.mark(snapshot);
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
pub(crate) fn mark_containers(db: &Connection, graph: &mut Graph) -> Result<()> {
    let mut select = db.prepare_cached(
        "SELECT snapshots.id FROM snapshots JOIN containers ON container = containers.id",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        graph.mark(row.get(0)?);
    }
    Ok(())
}
