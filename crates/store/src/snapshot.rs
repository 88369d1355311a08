//! Committed snapshots: layers of a file system, each on top of its parent.

use std::path::PathBuf;
use std::time::SystemTime;

use bld_oci::Digest;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::line::{Ancestor, ids};
use crate::store::Inner;
use crate::{SnapshotId, Store, layout};

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub id: SnapshotId,
    /// The snapshot it lies on.
    pub parent: Option<SnapshotId>,
    /// Digest of its canonical tar, once computed.
    pub diff_id: Option<Digest>,
    /// Size of that tar in bytes.
    pub diff_size: Option<u64>,
    /// Digest of its content without times, once computed.
    pub content: Option<Digest>,
    /// When it was committed.
    pub created: SystemTime,
}

impl SnapshotInfo {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            parent: row.get(1)?,
            diff_id: db::optional_digest(row, 2)?,
            diff_size: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            content: db::optional_digest(row, 4)?,
            created: db::time(row.get(5)?),
        })
    }
}

impl Store {
    /// What is known of a snapshot; `None` if there is no such snapshot.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotInfo>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(
                "SELECT id, parent, diff_id, diff_size, content, created FROM snapshots WHERE id = ?1",
            )?;
            Ok(select.query_row((id,), SnapshotInfo::read).optional()?)
        })
    }

    /// The directory of a snapshot's own layer, whether there is such a snapshot or not.
    pub fn layer(&self, id: SnapshotId) -> PathBuf {
        self.inner().upper(id)
    }

    /// The directories that make up a snapshot's file system, lowest first. The last is its own;
    /// lower ones may stand for [several layers](crate::Run) at once.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`], [`StoreError::Elsewhere`]
    pub fn layers(&self, id: SnapshotId) -> Result<Vec<PathBuf>> {
        let line = self.line(id)?;
        match line.iter().find(|step| step.absent.is_some()) {
            Some(absent) => Err(StoreError::Elsewhere { id: absent.id }),
            None => Ok(self.inner().stack(&ids(&line))),
        }
    }

    /// A snapshot and all it lies on, lowest first.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn ancestry(&self, id: SnapshotId) -> Result<Vec<SnapshotId>> {
        Ok(ids(&self.line(id)?))
    }

    /// The same, with which of them have no files here.
    pub(crate) fn line(&self, id: SnapshotId) -> Result<Vec<Ancestor>> {
        match self.inner().line(id)? {
            none if none.is_empty() => Err(StoreError::MissingSnapshot { id }),
            line => Ok(line),
        }
    }

    /// Remembers the digest and size in bytes of a snapshot's canonical tar.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn set_diff_id(&self, id: SnapshotId, diff_id: &Digest, size: u64) -> Result<()> {
        self.set(id, |db| {
            db.prepare_cached("UPDATE snapshots SET diff_id = ?2, diff_size = ?3 WHERE id = ?1")?
                .execute((id, bytes(diff_id), size.cast_signed()))
        })
    }

    /// Remembers the digest of a snapshot's content.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn set_content(&self, id: SnapshotId, content: &Digest) -> Result<()> {
        self.set(id, |db| {
            db.prepare_cached("UPDATE snapshots SET content = ?2 WHERE id = ?1")?
                .execute((id, bytes(content)))
        })
    }

    /// The snapshot that has the layers which `chain` (the image specification's chain id) stands
    /// for.
    pub fn snapshot_of_chain(&self, chain: &Digest) -> Result<Option<SnapshotId>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached("SELECT snapshot FROM chains WHERE chain = ?1")?;
            Ok(select.query_row((bytes(chain),), |row| row.get(0)).optional()?)
        })
    }

    /// Remembers which snapshot has the layers of `chain`. Forgotten with the snapshot.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn set_chain(&self, chain: &Digest, id: SnapshotId) -> Result<()> {
        self.set(id, |db| {
            db.prepare_cached(
                "INSERT INTO chains (chain, snapshot) SELECT ?2, id FROM snapshots WHERE id = ?1
                 ON CONFLICT DO UPDATE SET snapshot = excluded.snapshot",
            )?
            .execute((id, bytes(chain)))
        })
    }

    /// Removes a snapshot and the cache records that point to it.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]; [`StoreError::SnapshotInUse`] if something lies on it, an
    /// image or container has it, or a process holds it.
    pub fn remove_snapshot(&self, id: SnapshotId) -> Result<()> {
        let inner = self.inner();
        inner.fresh.release_snapshot(id);
        inner.take_away(id, |tx| {
            let mut used = tx.prepare_cached(
                "SELECT 1 FROM snapshots WHERE parent = ?1 OR (id = ?1 AND container IS NOT NULL)
                 UNION ALL SELECT 1 FROM images WHERE snapshot = ?1",
            )?;
            if used.exists((id,))? {
                return Err(StoreError::SnapshotInUse { id });
            }
            match tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute((id,))? {
                0 => Err(StoreError::MissingSnapshot { id }),
                _ => Ok(()),
            }
        })
    }

    fn set(
        &self,
        id: SnapshotId,
        change: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<()> {
        match self.inner().db.with(|db| Ok(change(db)?))? {
            0 => Err(StoreError::MissingSnapshot { id }),
            _ => Ok(()),
        }
    }
}

impl Inner {
    /// Removes a snapshot's directory after `delete` has removed its row, unless someone uses it.
    pub(crate) fn take_away<T>(
        &self,
        id: SnapshotId,
        delete: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let name = layout::snapshot(id);
        // Without a directory there is a row to remove yet.
        let fd = self.root.open_dir(&name)?;
        let lock = fd.map(Lock::try_exclusive).transpose();
        let lock = lock.map_err(|errno| self.root.error("lock", &name, errno))?;
        if matches!(lock, Some(None)) {
            return Err(StoreError::SnapshotInUse { id });
        }
        let session = self.session()?;
        session.mark(&self.root, id)?;
        let result = self.db.write(delete);
        match result {
            Ok(_) => self.abandon(id),
            Err(_) => session.unmark(id),
        }
        result
    }

    /// The directory of a snapshot.
    pub(crate) fn upper(&self, id: SnapshotId) -> PathBuf {
        self.root.join(layout::snapshot(id))
    }

    /// Whether the database knows the snapshot.
    pub(crate) fn has_row(&self, id: SnapshotId) -> Result<bool> {
        self.db.with(|db| {
            Ok(db.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1")?.exists((id,))?)
        })
    }
}
