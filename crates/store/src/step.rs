//! Steps of builds, by the id that people are told: what one has left behind to be looked into.
//!
//! A cache record answers "is this known?" and must be right about it. A step answers "show me
//! that": it is there for failed steps, too, and nothing is decided by it.

use std::path::PathBuf;
use std::time::SystemTime;

use bld_oci::Digest;
use rusqlite::Row;
use serde_json::Value;

use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::store::Inner;
use crate::{SnapshotId, Store, layout, list};

/// How many of the states that failed steps left are kept; each may be as large as the build.
const FAILED_KEPT: i64 = 8;

/// The columns of [`Step::read`].
const SELECT: &str = "SELECT id, name, snapshot, config, failed, created FROM steps";

/// A step of a build that ended, well or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its definition key.
    pub id: Digest,
    /// What it is called, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// The file system it left.
    pub snapshot: SnapshotId,
    /// How a process on that runs; the caller's to write and read.
    pub config: Value,
    /// It failed. Its snapshot, then, is kept for the sake of this step alone.
    pub failed: bool,
    /// When it ended.
    pub created: SystemTime,
}

impl Step {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: db::digest(row, 0)?,
            name: row.get(1)?,
            snapshot: row.get(2)?,
            config: db::json(row, 3)?,
            failed: row.get(4)?,
            created: db::time(row.get(5)?),
        })
    }
}

impl Store {
    /// Remembers a step, instead of what was known of an earlier run of it. It is forgotten with
    /// its snapshot. Of the failed ones only the newest are kept.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn put_step(&self, step: &Step) -> Result<()> {
        let inner = self.inner();
        let replaced = inner.failed_snapshots("WHERE failed AND id = ?1", (bytes(&step.id),))?;
        let inserted = inner.db.with(|db| {
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO steps (id, name, snapshot, config, failed, created)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM snapshots WHERE id = ?3)",
            )?;
            Ok(insert.execute((
                bytes(&step.id),
                &step.name,
                step.snapshot,
                step.config.to_string(),
                step.failed,
                db::nanoseconds(step.created),
            ))?)
        })?;
        if inserted == 0 {
            return Err(StoreError::MissingSnapshot { id: step.snapshot });
        }
        let surplus = if step.failed {
            inner.failed_snapshots(
                "WHERE failed ORDER BY created DESC LIMIT -1 OFFSET ?1",
                (FAILED_KEPT,),
            )?
        } else {
            Vec::new()
        };
        for snapshot in replaced.into_iter().chain(surplus).filter(|id| *id != step.snapshot) {
            match self.remove_snapshot(snapshot) {
                // A container lies on it, or somebody else was quicker: collection sees to the rest.
                Err(StoreError::SnapshotInUse { .. } | StoreError::MissingSnapshot { .. }) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The step with this id.
    pub fn step(&self, id: &Digest) -> Result<Option<Step>> {
        Ok(self.inner().steps_between(id.as_bytes(), id.as_bytes())?.pop())
    }

    /// Steps whose ids begin with `prefix`, some hexadecimal digits; two at most, which is enough to
    /// know that it is ambiguous.
    pub fn find_steps(&self, prefix: &str) -> Result<Vec<Step>> {
        // Ids are compared as bytes, so a prefix is a range; what is no digit is the start of none.
        match (
            Digest::from_hex(&format!("{prefix:0<64}")),
            Digest::from_hex(&format!("{prefix:f<64}")),
        ) {
            (Ok(first), Ok(last)) => self.inner().steps_between(first.as_bytes(), last.as_bytes()),
            _ => Ok(Vec::new()),
        }
    }

    /// Where everything is that the step `id` wrote when it ran last. Whoever writes there has the
    /// [lock](Self::lock) named after the id's digits.
    pub fn step_log(&self, id: &Digest) -> PathBuf {
        self.inner().root.join(layout::step_log(&id.hex()))
    }
}

impl Inner {
    /// Two steps at most.
    fn steps_between(&self, first: &[u8], last: &[u8]) -> Result<Vec<Step>> {
        self.db.with(|db| {
            let mut select =
                db.prepare_cached(&format!("{SELECT} WHERE id BETWEEN ?1 AND ?2 LIMIT 2"))?;
            Ok(select.query_map((first, last), Step::read)?.collect::<Result<_, _>>()?)
        })
    }

    fn failed_snapshots(
        &self,
        which: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<SnapshotId>> {
        self.db.with(|db| {
            let mut select = db.prepare_cached(&format!("SELECT snapshot FROM steps {which}"))?;
            Ok(select.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}

impl Store {
    /// Removes the logs of steps that are not known any more and do not run.
    pub(crate) fn remove_logs(&self) -> Result<()> {
        let root = &self.inner().root;
        for name in list::texts(root, layout::LOGS)? {
            let Some(id) = name.strip_suffix(".log") else { continue };
            let is_known = || Ok::<_, StoreError>(!self.find_steps(id)?.is_empty());
            // Asked again under the lock: a step that has ended in between is known by then.
            if !is_known()?
                && let Some(_idle) = self.try_lock(id)?
                && !is_known()?
            {
                root.unlink(&layout::step_log(id))?;
            }
        }
        Ok(())
    }
}
