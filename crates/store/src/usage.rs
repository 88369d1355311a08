//! Accounting, from what is really on disk.

use std::ops::Add;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::Result;
use crate::gc::{self, Graph};
use crate::store::Inner;
use crate::{GcPolicy, SnapshotId, Store, du, layout, list};

/// A number of things and their bytes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }
}

/// What takes how much disk. Nothing is counted twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images, and the snapshots they lie on.
    pub images: Tally,
    /// Containers, and their writable layers with what no image has of what they lie on.
    pub containers: Tally,
    /// Cache records, and the snapshots that no image or container has.
    pub cache: Tally,
    /// Snapshots that nothing has.
    pub unreachable: Tally,
    /// Blobs: configs, manifests, and layers as they were pulled or compressed.
    pub blobs: Tally,
    /// Cache mounts.
    pub cache_mounts: Tally,
    /// Bytes of the database.
    pub database: u64,
    /// Bytes that [`Store::gc`] would free if it gave up the whole cache and all dangling images.
    pub reclaimable: u64,
}

impl Store {
    /// Adds up what the store takes. Snapshots that were never measured are measured now.
    pub fn usage(&self) -> Result<Usage> {
        let inner = self.inner();
        let everything = GcPolicy {
            dangling_images: true,
            unused_for: Some(Duration::ZERO),
            dry_run: true,
            ..GcPolicy::default()
        };
        // Measures, too.
        let reclaimable = self.gc(&everything)?.bytes;
        let mut usage = Usage { reclaimable, ..inner.db.with(account)? };
        for id in
            inner.column::<SnapshotId>("SELECT id FROM snapshots WHERE container IS NOT NULL")?
        {
            usage.containers.bytes += inner.disk_of(id)?;
        }
        for name in list::texts(&inner.root, layout::CACHE_MOUNTS)? {
            if name.contains('.') {
                continue;
            }
            let name = format!("{}/{name}", layout::CACHE_MOUNTS);
            let bytes = du::tree(&inner.root, &name)
                .map_err(|errno| inner.root.error("measure", &name, errno))?;
            usage.cache_mounts = usage.cache_mounts + Tally { count: 1, bytes };
        }
        for suffix in ["", "-wal", "-shm"] {
            let file = inner.root.join(format!("{}{suffix}", layout::DATABASE));
            usage.database += std::fs::metadata(file).map_or(0, |file| file.len());
        }
        Ok(usage)
    }
}

/// The part that the database knows. Snapshots go to the first that has them.
fn account(db: &Connection) -> Result<Usage> {
    let count = |sql| -> Result<u64> {
        Ok(db.query_row(sql, (), |row| row.get::<_, i64>(0))?.cast_unsigned())
    };
    let mut graph = Graph::load(db)?;
    let mut seen = Tally::default();
    let mut next = |graph: &Graph, count| {
        let bytes = graph.live().bytes - seen.bytes;
        seen = graph.live();
        Tally { count, bytes }
    };
    mark(db, &mut graph, "SELECT snapshot FROM images WHERE snapshot IS NOT NULL")?;
    let images = next(&graph, count("SELECT count(*) FROM images")?);
    gc::mark_containers(db, &mut graph)?;
    let containers = next(&graph, count("SELECT count(*) FROM containers")?);
    mark(db, &mut graph, "SELECT snapshot FROM records WHERE snapshot IS NOT NULL")?;
    mark(db, &mut graph, "SELECT snapshot FROM steps WHERE failed")?;
    let cache = next(&graph, count("SELECT count(*) FROM records")?);
    let total = graph.total();
    Ok(Usage {
        images,
        containers,
        cache,
        unreachable: Tally { count: total.count - seen.count, bytes: total.bytes - seen.bytes },
        blobs: Tally {
            count: count("SELECT count(*) FROM blobs")?,
            bytes: count("SELECT coalesce(sum(size), 0) FROM blobs")?,
        },
        ..Usage::default()
    })
}

fn mark(db: &Connection, graph: &mut Graph, sql: &str) -> Result<()> {
    let mut select = db.prepare_cached(sql)?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        graph.mark(row.get(0)?);
    }
    Ok(())
}

impl Inner {
    /// Measures the snapshots that have not been. They do not change, so once is enough.
    pub(crate) fn measure(&self) -> Result<()> {
        let unknown = self.column::<SnapshotId>(
            "SELECT id FROM snapshots WHERE disk IS NULL AND container IS NULL",
        )?;
        for id in unknown {
            let disk = self.disk_of(id)?.cast_signed();
            self.db.with(|db| {
                let sql = "UPDATE snapshots SET disk = ?2 WHERE id = ?1";
                Ok(db.prepare_cached(sql)?.execute((id, disk))?)
            })?;
        }
        Ok(())
    }

    /// Bytes on disk of one snapshot.
    fn disk_of(&self, id: SnapshotId) -> Result<u64> {
        let name = layout::snapshot(id);
        du::tree(&self.root, &name).map_err(|errno| self.root.error("measure", &name, errno))
    }
}
