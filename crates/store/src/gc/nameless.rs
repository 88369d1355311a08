//! Files that no row names: of a process that died between file and row, or of one that is just
//! about to name them.

use std::collections::HashSet;

use bld_oci::Digest;
use rusqlite::types::FromSql;

use super::pass::Seized;
use super::{Doomed, GcReport};
use crate::db::bytes;
use crate::error::Result;
use crate::store::Inner;
use crate::{SnapshotId, layout, list, session};

impl Inner {
    /// Removes blobs and snapshots that have no row and that nobody holds.
    pub(super) fn remove_nameless(&self, doomed: &Doomed, report: &mut GcReport) -> Result<()> {
        for digest in self.nameless_blobs()? {
            let Seized::Free(Some(lock)) = self.seize_blob(&digest)? else { continue };
            // Whoever names a blob holds it first. If there is no row now, there will be none.
            if self.has_blob_row(&digest)? {
                continue;
            }
            let size = lock.size().unwrap_or_default();
            if doomed.dry_run || self.root.unlink(&layout::blob(&digest))? {
                report.blobs.push(digest);
                report.bytes += size;
            }
        }
        for id in self.nameless_snapshots()? {
            // Those that are still being made are held.
            let Seized::Free(Some(_lock)) = self.seize_snapshot(id)? else { continue };
            if self.has_row(id)? {
                continue;
            }
            report.snapshots.push(id);
            if !doomed.dry_run {
                self.session()?.mark(&self.root, id)?;
                self.abandon(id);
            }
        }
        Ok(())
    }

    /// Blobs without a row.
    pub(crate) fn nameless_blobs(&self) -> Result<Vec<Digest>> {
        let mut blobs = list::blobs(&self.root)?;
        let named: HashSet<[u8; 32]> = self.column("SELECT digest FROM blobs")?;
        blobs.retain(|digest| !named.contains(digest.as_bytes()));
        Ok(blobs)
    }

    /// Snapshots that have no row and are not marked by a session as being made or removed.
    pub(crate) fn nameless_snapshots(&self) -> Result<Vec<SnapshotId>> {
        // In this order: one that gets its row in between is in the second list.
        let mut snapshots = list::snapshots(&self.root)?;
        let mut known: HashSet<SnapshotId> = self.marked()?;
        known.extend(self.column::<SnapshotId>("SELECT id FROM snapshots")?);
        snapshots.retain(|id| !known.contains(id));
        Ok(snapshots)
    }

    /// Snapshots that sessions are making or removing.
    fn marked(&self) -> Result<HashSet<SnapshotId>> {
        let mut marked = HashSet::new();
        for session in list::texts(&self.root, layout::SESSIONS)? {
            let names = list::texts(&self.root, &format!("{}/{session}", layout::SESSIONS))?;
            marked.extend(names.iter().filter_map(|name| session::marked(name)));
        }
        Ok(marked)
    }

    pub(crate) fn has_blob_row(&self, digest: &Digest) -> Result<bool> {
        self.db.with(|db| {
            Ok(db
                .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?
                .exists((bytes(digest),))?)
        })
    }

    /// The values of the only column that `sql` asks for.
    pub(crate) fn column<T: FromSql + Eq + std::hash::Hash>(
        &self,
        sql: &str,
    ) -> Result<HashSet<T>> {
        self.db.with(|db| {
            let mut select = db.prepare_cached(sql)?;
            Ok(select.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}
