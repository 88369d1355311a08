//! What is reachable from what.

use std::collections::{HashMap, HashSet};

use bld_oci::Digest;
use rusqlite::Connection;

use crate::error::Result;
use crate::{SnapshotId, db};

/// All snapshots, and what has been found in use so far.
pub(crate) struct Graph {
    nodes: HashMap<SnapshotId, Node>,
}

struct Node {
    parent: Option<SnapshotId>,
    diff_id: Option<Digest>,
    /// Bytes of its files.
    disk: u64,
    live: bool,
}

impl Graph {
    /// Reads the snapshots; none is live yet.
    pub(crate) fn load(db: &Connection) -> Result<Self> {
        let mut nodes = HashMap::new();
        let mut select =
            db.prepare_cached("SELECT id, parent, diff_id, coalesce(disk, 0) FROM snapshots")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            let node = Node {
                parent: row.get(1)?,
                diff_id: db::optional_digest(row, 2)?,
                disk: row.get::<_, i64>(3)?.cast_unsigned(),
                live: false,
            };
            nodes.insert(row.get(0)?, node);
        }
        Ok(Self { nodes })
    }

    /// Says that `id` and all it lies on are in use.
    pub(crate) fn mark(&mut self, id: SnapshotId) {
        let mut next = Some(id);
        while let Some(node) = next.and_then(|id| self.nodes.get_mut(&id)).filter(|node| !node.live)
        {
            node.live = true;
            next = node.parent;
        }
    }

    /// Whether `id` is in use.
    pub(crate) fn is_live(&self, id: SnapshotId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.live)
    }

    /// Bytes of one snapshot's files, without those it lies on.
    pub(crate) fn disk(&self, id: SnapshotId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.disk)
    }

    /// The layers of what is in use.
    pub(crate) fn live_diff_ids(&self) -> impl Iterator<Item = Digest> {
        self.nodes.values().filter(|node| node.live).filter_map(|node| node.diff_id)
    }

    /// What is not in use, children before their parents.
    pub(crate) fn garbage(&self) -> Vec<SnapshotId> {
        let dead = |id: &SnapshotId| !self.is_live(*id);
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for id in self.nodes.keys().copied().filter(dead) {
            // Up the line as far as nobody has been; that far it comes before what is there.
            let mut line = Vec::new();
            let mut next = Some(id);
            while let Some(id) = next.filter(|id| dead(id) && seen.insert(*id)) {
                line.push(id);
                next = self.nodes.get(&id).and_then(|node| node.parent);
            }
            order.extend(line.into_iter().rev());
        }
        // Parents came first.
        order.reverse();
        order
    }
}
