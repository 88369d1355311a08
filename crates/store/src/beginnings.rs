//! How far the hash of a layer was after what it begins with, for layers that begin alike.

use bld_oci::Digest;
use rusqlite::OptionalExtension as _;

use crate::db::bytes;
use crate::error::Result;
use crate::{SnapshotId, Store};

impl Store {
    /// The state of a hash after the beginning of a layer, in the caller's form.
    pub fn beginning(&self, beginning: &Digest) -> Result<Option<Vec<u8>>> {
        self.inner().db.with(|db| {
            let mut select =
                db.prepare_cached("SELECT state FROM beginnings WHERE beginning = ?1")?;
            Ok(select.query_row((bytes(beginning),), |row| row.get(0)).optional()?)
        })
    }

    /// Remembers states of the hash of a snapshot's layer. Forgotten with the last snapshot that was
    /// said to begin so, and with a snapshot that is not there nothing is remembered.
    pub fn put_beginnings(&self, id: SnapshotId, states: &[(Digest, Vec<u8>)]) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        self.inner().db.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO beginnings (beginning, state, snapshot)
                 SELECT ?1, ?2, id FROM snapshots WHERE id = ?3",
            )?;
            for (beginning, state) in states {
                insert.execute((bytes(beginning), state, id))?;
            }
            Ok(())
        })
    }
}
