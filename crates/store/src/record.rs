//! Cache records: what an operation made of which inputs.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use bld_oci::Digest;
use rusqlite::{Params, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::store::Inner;
use crate::{SnapshotId, Store};

/// The time of use of a record is written when it is off by this much. Garbage collection thinks
/// in days, and a build that changes nothing should write nothing.
const USE_GRAIN: Duration = Duration::from_hours(1);

/// The bucket of notes that has the steps of the last build of each project.
const LAST_BUILDS: &str = "last-builds";

/// The bucket of notes that has how long operations took, by scope, in milliseconds as text.
const DURATIONS: &str = "durations";

/// The columns of [`Record::read`], and those of its caller.
const SELECT: &str = "SELECT id, used, definition, op, scope, snapshot, inputs, fields, created
                      FROM records";

/// The result of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Definition key: the operation and the definition keys of its inputs.
    pub definition: Digest,
    /// Digest of the operation alone.
    pub op: Digest,
    /// Where the operation came from, such that the next version of it has the same; for
    /// [`Store::find_similar`].
    pub scope: String,
    /// What it made.
    pub snapshot: Option<SnapshotId>,
    /// What it consumed, in order.
    pub inputs: Vec<RecordInput>,
    /// The operation's normalised fields, to tell later what changed.
    pub fields: Value,
    /// When it was done.
    pub created: SystemTime,
}

/// One input of a recorded operation. It is not kept by the record: its snapshot may be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInput {
    /// What it is to the operation.
    pub name: String,
    /// Its definition key.
    pub definition: Digest,
    /// Where its content was.
    pub snapshot: Option<SnapshotId>,
    /// Digest of the content that was consumed, if it was computed.
    pub content: Option<Digest>,
}

impl Record {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            definition: db::digest(row, 2)?,
            op: db::digest(row, 3)?,
            scope: row.get(4)?,
            snapshot: row.get(5)?,
            inputs: db::json(row, 6)?,
            fields: db::json(row, 7)?,
            created: db::time(row.get(8)?),
        })
    }
}

impl Store {
    /// Adds a record; it replaces an earlier one of the same definition.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`]
    pub fn put_record(&self, record: &Record) -> Result<()> {
        let malformed = |e: serde_json::Error| StoreError::Malformed {
            what: format!("the cache record {}", record.definition),
            reason: e.to_string(),
        };
        let inputs = serde_json::to_string(&record.inputs).map_err(malformed)?;
        let created = db::nanoseconds(record.created);
        let inserted = self.inner().db.with(|db| {
            // A new row rather than a changed one: ids are the order of age. The join makes a
            // missing snapshot show as nothing inserted.
            let mut insert = db.prepare_cached(
                "INSERT OR REPLACE INTO records
                     (definition, op, scope, snapshot, inputs, fields, created, used)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
                 WHERE ?4 IS NULL OR EXISTS (SELECT 1 FROM snapshots WHERE id = ?4)",
            )?;
            Ok(insert.execute((
                bytes(&record.definition),
                bytes(&record.op),
                &record.scope,
                record.snapshot,
                inputs,
                record.fields.to_string(),
                created,
                db::nanoseconds(SystemTime::now()),
            ))?)
        })?;
        match (inserted, record.snapshot) {
            (0, Some(id)) => Err(StoreError::MissingSnapshot { id }),
            _ => Ok(()),
        }
    }

    /// The record of a definition key. Counts as a use of it.
    pub fn find_record(&self, definition: &Digest) -> Result<Option<Record>> {
        let found = self.select("WHERE definition = ?1", (bytes(definition),))?;
        Ok(found.into_iter().next().map(|Found { id, used, record }| {
            if used + USE_GRAIN < SystemTime::now() {
                self.inner().touched.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            }
            record
        }))
    }

    /// Records of the same operation on whatever inputs, newest first.
    pub fn find_by_op(&self, op: &Digest, limit: usize) -> Result<Vec<Record>> {
        let found =
            self.select("WHERE op = ?1 ORDER BY id DESC LIMIT ?2", (bytes(op), rows(limit)))?;
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    /// Records of the same scope, newest first.
    pub fn find_similar(&self, scope: &str, limit: usize) -> Result<Vec<Record>> {
        let found =
            self.select("WHERE scope = ?1 ORDER BY id DESC LIMIT ?2", (scope, rows(limit)))?;
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    /// The definition keys of the steps of the last build of `project`.
    pub fn steps_of_last_build(&self, project: &str) -> Result<Vec<Digest>> {
        let value = self.get(LAST_BUILDS, project)?.unwrap_or_default();
        Ok(value.as_chunks().0.iter().map(|bytes| Digest::from_bytes(*bytes)).collect())
    }

    /// Sets the definition keys of the steps of the last build of `project`.
    pub fn put_steps_of_last_build(&self, project: &str, steps: &[Digest]) -> Result<()> {
        self.put(LAST_BUILDS, project, &steps.iter().flat_map(bytes).copied().collect::<Vec<u8>>())
    }

    /// How long the last operation of `scope` took that was worth a note.
    pub fn duration(&self, scope: &str) -> Result<Option<Duration>> {
        let text = self.get(DURATIONS, scope)?;
        let known = text.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        Ok(known.map(Duration::from_millis))
    }

    /// Sets how long the operation of `scope` took, to the millisecond. It is a hint: garbage
    /// collection drops those of scopes without a record once there are many.
    pub fn put_duration(&self, scope: &str, took: Duration) -> Result<()> {
        self.put(DURATIONS, scope, took.as_millis().to_string().as_bytes())
    }

    fn select(&self, which: &str, params: impl Params) -> Result<Vec<Found>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(&format!("{SELECT} {which}"))?;
            let found = select.query_map(params, |row| {
                Ok(Found {
                    id: row.get(0)?,
                    used: db::time(row.get(1)?),
                    record: Record::read(row)?,
                })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}

/// A limit as SQL has it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

struct Found {
    id: i64,
    used: SystemTime,
    record: Record,
}

impl Inner {
    /// Writes the times of use that are due.
    pub(crate) fn write_touched(&self) -> Result<()> {
        let touched =
            std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        if touched.is_empty() {
            return Ok(());
        }
        let now = db::nanoseconds(SystemTime::now());
        self.db.write(|tx| {
            let sql = "UPDATE records SET used = ?2, uses = uses + 1 WHERE id = ?1";
            let mut update = tx.prepare_cached(sql)?;
            for id in touched {
                update.execute((id, now))?;
            }
            Ok(())
        })
    }

    /// Forgets notes on builds that no record backs any more, if there are many of them: of a few it
    /// is of use to know that their results were there, or how long they will take again.
    pub(crate) fn forget_builds(&self) -> Result<()> {
        // Last builds count as lost when their first step is.
        self.forget_notes(
            LAST_BUILDS,
            "substr(value, 1, 32) NOT IN (SELECT definition FROM records)",
        )?;
        self.forget_notes(DURATIONS, "key NOT IN (SELECT scope FROM records)")
    }

    /// Removes the notes in `bucket` for which the SQL condition `lost` holds, if they are many.
    fn forget_notes(&self, bucket: &str, lost: &str) -> Result<()> {
        const MANY: i64 = 256;
        let lost = format!("FROM notes WHERE bucket = ?1 AND {lost}");
        self.db.with(|db| {
            let count: i64 =
                db.query_row(&format!("SELECT count(*) {lost}"), (bucket,), |row| row.get(0))?;
            if count > MANY {
                db.execute(&format!("DELETE {lost}"), (bucket,))?;
            }
            Ok(())
        })
    }
}
