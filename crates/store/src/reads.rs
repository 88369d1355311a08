//! What the process that made a snapshot has read below it.

use rusqlite::OptionalExtension as _;

use crate::error::{Result, StoreError};
use crate::{SnapshotId, Store};

impl Store {
    /// Remembers what was read to make a snapshot, in the caller's form. Forgotten with the
    /// snapshot.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn put_reads(&self, id: SnapshotId, paths: &[u8]) -> Result<()> {
        let inserted = self.inner().db.with(|db| {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO reads (snapshot, paths)
                 SELECT id, ?2 FROM snapshots WHERE id = ?1",
            )?;
            Ok(insert.execute((id, paths))?)
        })?;
        if inserted == 0 { Err(StoreError::MissingSnapshot { id }) } else { Ok(()) }
    }

    /// What was read to make a snapshot, if that is known.
    pub fn reads(&self, id: SnapshotId) -> Result<Option<Vec<u8>>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached("SELECT paths FROM reads WHERE snapshot = ?1")?;
            Ok(select.query_row((id,), |row| row.get(0)).optional()?)
        })
    }
}
