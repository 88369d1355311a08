//! Lines of snapshots: each with all that it lies on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bld_oci::Digest;
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::Result;
use crate::store::Inner;
use crate::{SnapshotId, db};

/// A snapshot of a line.
pub(crate) struct Ancestor {
    pub(crate) id: SnapshotId,
    /// Digest of its layer's uncompressed archive, if its files are not here.
    pub(crate) absent: Option<Digest>,
}

pub(crate) fn ids(line: &[Ancestor]) -> Vec<SnapshotId> {
    line.iter().map(|step| step.id).collect()
}

/// What snapshots whose files are here lie on. That never changes, and no name is used twice, so it
/// need not be asked for at each step of a long build again.
#[derive(Debug, Default)]
pub(crate) struct Parents(Mutex<HashMap<SnapshotId, Option<SnapshotId>>>);

impl Inner {
    /// A snapshot and all it lies on, lowest first; nothing if there is no such snapshot.
    pub(crate) fn line(&self, id: SnapshotId) -> Result<Vec<Ancestor>> {
        let mut parents = self.parents.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.db.with(|db| line(db, &mut parents, id))
    }
}

fn line(
    db: &Connection,
    parents: &mut HashMap<SnapshotId, Option<SnapshotId>>,
    top: SnapshotId,
) -> Result<Vec<Ancestor>> {
    let mut select = db.prepare_cached(
        "SELECT parent, CASE WHEN absent THEN diff_id END FROM snapshots WHERE id = ?1",
    )?;
    let mut line = Vec::new();
    let mut next = Some(top);
    while let Some(id) = next {
        // The top may be gone. As long as it is there, so is what it lies on.
        let known = parents.get(&id).filter(|_| id != top).copied();
        let (parent, absent) = match known {
            Some(parent) => (parent, None),
            None => {
                let row =
                    select.query_row((id,), |row| Ok((row.get(0)?, db::optional_digest(row, 1)?)));
                let Some((parent, absent)) = row.optional()? else { return Ok(Vec::new()) };
                if absent.is_none() {
                    parents.insert(id, parent);
                }
                (parent, absent)
            }
        };
        line.push(Ancestor { id, absent });
        next = parent;
    }
    line.reverse();
    Ok(line)
}
