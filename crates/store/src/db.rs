//! The database: one SQLite file in WAL mode, shared by every process that uses the store.
//!
//! Nothing is opened before the first question. Readers never wait; writers take their turn
//! (`BEGIN IMMEDIATE`, so that a transaction never finds out half-way that it must start again).
//! Commits are not flushed one by one: WAL with `synchronous=NORMAL` cannot be torn, only lose its
//! latest commits in a power cut. [`Database::write_durably`] is for the few that must not be lost.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bld_oci::Digest;
use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};
use crate::gc::reserve;
use crate::layout;
use crate::lock::KeyLock;
use crate::root::Root;

/// What takes a database from version N to N + 1, N being the position.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema.sql"),
    include_str!("steps.sql"),
    include_str!("uses.sql"),
    include_str!("reads.sql"),
    include_str!("variants.sql"),
    include_str!("elsewhere.sql"),
    include_str!("beginnings.sql"),
    include_str!("said.sql"),
];

/// The version of the schema that this code reads and writes.
const VERSION: u32 = MIGRATIONS.len() as u32;

/// Length of the log, in pages, at which whoever commits moves it into the database. The first
/// process to open the database reads the log, 0.1 ms per 100 pages: SQLite's default of 1000 would
/// triple the time of a build that changes nothing. Moving takes 2 to 7 ms, a step writes 10 pages.
const LOG_PAGES: u32 = 250;

/// Bytes of a page as SQLite takes them.
const PAGE: u64 = 4096;

/// The database of a store, connected on first use.
#[derive(Debug)]
pub(crate) struct Database {
    root: Arc<Root>,
    connection: Mutex<Option<Connection>>,
}

impl Database {
    /// The database below `root`; touches nothing yet.
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root, connection: Mutex::new(None) }
    }

    /// Reads, or writes with a single statement.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.with_mut(|connection| f(connection))
    }

    fn with_mut<T>(&self, f: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut guard = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *guard {
            Some(connection) => connection,
            none => none.insert(self.open()?),
        };
        f(connection).map_err(|e| self.locate(e))
    }

    /// Runs `f` as one transaction, undone unless it succeeds.
    pub(crate) fn write<T>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.with(|connection| transact(connection, f))
    }

    /// As [`write`](Self::write); when it returns, a power cut cannot undo it any more, nor any
    /// transaction before it.
    pub(crate) fn write_durably<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with(|connection| {
            connection.pragma_update(None, "synchronous", "FULL")?;
            let result = transact(connection, f);
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            result
        })
    }

    /// Moves what the log has gathered into the database file, if nobody is in the way. A short
    /// log is what makes the next process start quickly: the first one to open it reads it all.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.with_mut(|connection| {
            connection.busy_handler(None::<fn(i32) -> bool>)?;
            let result = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
            connection.busy_handler(Some(wait))?;
            match result {
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
                result => Ok(result?),
            }
        })
    }

    fn path(&self) -> PathBuf {
        self.root.join(layout::DATABASE)
    }

    fn open(&self) -> Result<Connection> {
        match self.connect().map_err(|e| self.locate(e)) {
            Err(StoreError::NoSpace { .. }) if reserve::lend(&self.root) => {
                self.connect().map_err(|e| self.locate(e))
            }
            result => result,
        }
    }

    /// Fails where there is no space for the index of the log. SQLite has one byte of each page of
    /// memory written before it writes to the mapping; with smaller blocks, that is not enough to keep
    /// the kernel from killing us (SIGBUS) for want of the others.
    fn check_space(&self) -> Result<()> {
        let disk = rustix::fs::fstatvfs(&*self.root)
            .map_err(|errno| self.root.error("measure", "", errno))?;
        if disk.f_bsize < PAGE && disk.f_bavail * disk.f_frsize < reserve::LOAN {
            return Err(StoreError::NoSpace { path: self.path() });
        }
        Ok(())
    }

    fn connect(&self) -> Result<Connection> {
        self.check_space()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(self.path(), flags)?;
        connection.busy_handler(Some(wait))?;
        // Else the last process to leave copies the log into the database: 7 ms per command.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        connection.set_prepared_statement_cache_capacity(64);
        if version(&connection)? < VERSION {
            self.migrate(&connection)?;
        }
        match version(&connection)? {
            VERSION => Ok(connection),
            found => Err(StoreError::NewerSchema {
                path: self.root.path().to_owned(),
                found,
                supported: VERSION,
            }),
        }
    }

    /// Brings the schema up to date; from nothing, on first use.
    fn migrate(&self, connection: &Connection) -> Result<()> {
        // One at a time: changing the journal mode, unlike a transaction, does not queue.
        let _lock = KeyLock::wait(&self.root, "schema")?;
        while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
            if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
                return Err(error.into());
            }
            thread::sleep(Duration::from_millis(1)); // somebody reads the version
        }
        transact(connection, |tx| {
            let found = version(tx)?;
            for migration in MIGRATIONS.iter().skip(found as usize) {
                tx.execute_batch(migration)?;
            }
            Ok(tx.pragma_update(None, "user_version", VERSION.max(found))?)
        })
    }

    /// Gives a database error its place, and tells a full disk apart.
    fn locate(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Database { source } if is_full(&source) => {
                StoreError::NoSpace { path: self.path() }
            }
            error => error,
        }
    }
}

/// Whether it was for want of space: in the log, or in the index of the log, which even a reader
/// has to make.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == SQLITE_IOERR_SHMSIZE
    })
}

fn transact<T>(
    connection: &Connection,
    f: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let value = f(&tx)?;
    tx.commit()?;
    Ok(value)
}

fn version(connection: &Connection) -> Result<u32> {
    Ok(connection.query_row("PRAGMA user_version", (), |row| row.get(0))?)
}

/// Called for the `attempt`th time because another process is writing; gives up after about half a
/// minute. Transactions take well under a millisecond, so the first waits are short; SQLite's own
/// handler goes up to 100 ms at once.
fn wait(attempt: i32) -> bool {
    thread::sleep(Duration::from_micros(100 << attempt.clamp(0, 6)));
    attempt < 5000
}

/// A time as the database has it. Before 1970 counts as 1970.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A time from the database.
pub(crate) fn time(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds.max(0).cast_unsigned())
}

/// A digest as the database has it.
pub(crate) fn bytes(digest: &Digest) -> &[u8] {
    digest.as_bytes()
}

/// A digest from the database, column `index` of `row`.
pub(crate) fn digest(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Digest> {
    row.get(index).map(Digest::from_bytes)
}

/// As [`digest`], of a column that may be NULL.
pub(crate) fn optional_digest(
    row: &rusqlite::Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<Digest>> {
    row.get::<_, Option<[u8; 32]>>(index).map(|bytes| bytes.map(Digest::from_bytes))
}

/// A JSON document from the database, column `index` of `row`.
pub(crate) fn json<T: DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(index)?.as_str()?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, e.into()))
}
