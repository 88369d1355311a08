//! Containers: one JSON document each, under an id and a name.

use std::time::SystemTime;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use serde_json::Value;

use crate::db;
use crate::error::{Result, StoreError};
use crate::{SnapshotId, Store};

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, which no other container has.
    pub name: String,
    /// The caller's document.
    pub state: Value,
    /// Its writable layer, if it [keeps](crate::Active::keep) one.
    pub layer: Option<SnapshotId>,
    /// When it was put first.
    pub created: SystemTime,
}

const SELECT: &str = "SELECT containers.id, name, state, snapshots.id, containers.created
                      FROM containers LEFT JOIN snapshots ON container = containers.id";

impl Container {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let state = serde_json::from_str(row.get_ref(2)?.as_str()?)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, e.into()))?;
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            state,
            layer: row.get(3)?,
            created: db::time(row.get(4)?),
        })
    }
}

impl Store {
    /// Adds a container, or replaces its name and document.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] with the id of the container that has the name.
    pub fn put_container(&self, id: &str, name: &str, state: &Value) -> Result<()> {
        self.inner().db.write(|tx| {
            check_name(tx, id, name)?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO containers (id, name, state, created) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state",
            )?;
            insert.execute((id, name, state.to_string(), db::nanoseconds(SystemTime::now())))?;
            Ok(())
        })
    }

    /// The container of this id, else of this name, else the only one whose id begins like this.
    ///
    /// # Errors
    /// [`StoreError::Ambiguous`] when several ids begin like this.
    pub fn container(&self, id_or_name: &str) -> Result<Option<Container>> {
        self.inner().db.with(|db| {
            for which in ["WHERE containers.id = ?1", "WHERE name = ?1"] {
                if let found @ Some(_) = select(db, which, id_or_name)?.pop() {
                    return Ok(found);
                }
            }
            if id_or_name.is_empty() {
                return Ok(None);
            }
            let mut found = select(
                db,
                "WHERE containers.id >= ?1 AND containers.id < ?1 || char(0x10ffff)",
                id_or_name,
            )?;
            if found.len() > 1 {
                return Err(StoreError::Ambiguous {
                    prefix: id_or_name.to_owned(),
                    matches: found.into_iter().map(|container| container.id).collect(),
                });
            }
            Ok(found.pop())
        })
    }

    /// All containers, the newest first.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(&format!(
                "{SELECT} ORDER BY containers.created DESC, containers.id"
            ))?;
            Ok(select.query_map((), Container::read)?.collect::<Result<_, _>>()?)
        })
    }

    /// Changes a container's document, with no other change in between; returns the new state of
    /// affairs. `change` must not use the store.
    ///
    /// # Errors
    /// [`StoreError::MissingContainer`]
    pub fn update_container(&self, id: &str, change: impl FnOnce(&mut Value)) -> Result<Container> {
        self.inner().db.write(|tx| {
            let mut container = require(tx, id)?;
            change(&mut container.state);
            tx.prepare_cached("UPDATE containers SET state = ?2 WHERE id = ?1")?
                .execute((id, container.state.to_string()))?;
            Ok(container)
        })
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`StoreError::MissingContainer`], [`StoreError::NameTaken`]
    pub fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        self.inner().db.write(|tx| {
            require(tx, id)?;
            check_name(tx, id, name)?;
            tx.prepare_cached("UPDATE containers SET name = ?2 WHERE id = ?1")?
                .execute((id, name))?;
            Ok(())
        })
    }

    /// Removes a container and its writable layer; whether there was any of them.
    ///
    /// # Errors
    /// [`StoreError::SnapshotInUse`] while a process has the layer open; nothing is removed then.
    pub fn delete_container(&self, id: &str) -> Result<bool> {
        let inner = self.inner();
        let delete = |tx: &Transaction<'_>| {
            let mut rows = 0;
            for sql in [
                "DELETE FROM containers WHERE id = ?1",
                "DELETE FROM snapshots WHERE container = ?1",
            ] {
                rows += tx.prepare_cached(sql)?.execute((id,))?;
            }
            Ok(rows > 0)
        };
        match inner.layer_of(id)? {
            Some(layer) => inner.take_away(layer, delete),
            None => inner.db.write(delete),
        }
    }
}

fn select(db: &Connection, which: &str, param: &str) -> Result<Vec<Container>> {
    let mut select = db.prepare_cached(&format!("{SELECT} {which}"))?;
    Ok(select.query_map((param,), Container::read)?.collect::<Result<_, _>>()?)
}

fn require(tx: &Transaction<'_>, id: &str) -> Result<Container> {
    let found = select(tx, "WHERE containers.id = ?1", id)?.pop();
    found.ok_or_else(|| StoreError::MissingContainer { name: id.to_owned() })
}

/// Fails if `name` is that of another container than `id`.
fn check_name(tx: &Transaction<'_>, id: &str, name: &str) -> Result<()> {
    let mut select = tx.prepare_cached("SELECT id FROM containers WHERE name = ?1 AND id <> ?2")?;
    match select.query_row((name, id), |row| row.get(0)).optional()? {
        Some(id) => Err(StoreError::NameTaken { name: name.to_owned(), id }),
        None => Ok(()),
    }
}
