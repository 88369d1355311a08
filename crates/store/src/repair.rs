//! Who is concerned by damage, and getting rid of it.
//!
//! What is damaged is dropped with everything that is of no use without it, so that it is fetched or
//! made again when it is needed next. Containers are never dropped: nothing makes them again.

use std::sync::PoisonError;

use bld_oci::Digest;
use rusqlite::{Connection, Params, Transaction};

use crate::check::Problem;
use crate::db::bytes;
use crate::error::Result;
use crate::{SnapshotId, Store, blob, epoch, layout, remove};

/// The snapshot `?1` and all that lie on it.
const LINE: &str = "WITH RECURSIVE line (id) AS (
     SELECT ?1 UNION SELECT above.id FROM snapshots AS above JOIN line ON above.parent = line.id
 )";

/// What a repair came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// The damage is gone.
    pub done: bool,
    /// Images, by name or id, that are gone with it: they have to be pulled or built again.
    pub lost: Vec<String>,
    /// Names of the containers that keep the damage from being dropped.
    pub containers: Vec<String>,
}

impl Store {
    /// Who refers to what is damaged, in words: images, steps of builds, containers.
    pub fn concerned(&self, problem: &Problem) -> Result<Vec<String>> {
        self.inner().db.with(|db| match problem {
            Problem::MissingBlob { digest } | Problem::DamagedBlob { digest, .. } => {
                let mut users = texts(
                    db,
                    &format!(
                        "SELECT iif(id = ?1, 'the configuration', 'the manifest') || ' of image ' || {NAME}
                         FROM images WHERE id = ?1 OR manifest = ?1
                         UNION ALL SELECT 'what is said about image ' || {NAME}
                         FROM images WHERE said = ?1"
                    ),
                    (bytes(digest),),
                )?;
                for (layer, media_type) in layers_of(db, digest)? {
                    users.push(format!("layer {layer} as {media_type}"));
                    for image in images_with(db, &layer)? {
                        users.push(format!("a layer of image {image}"));
                    }
                }
                Ok(users)
            }
            Problem::MissingSnapshot { id } | Problem::DamagedSnapshot { id, .. } => {
                let sql = format!(
                    "{LINE} SELECT 'what step ' || name || ' made' FROM steps WHERE snapshot = ?1
                     UNION ALL SELECT 'part of image ' || {NAME} FROM images WHERE snapshot IN line
                     UNION ALL SELECT 'part of container ' || name FROM containers
                         WHERE id IN (SELECT container FROM snapshots WHERE id IN line)"
                );
                texts(db, &sql, (id,))
            }
            _ => Ok(Vec::new()),
        })
    }

    /// Drops what is damaged and what is of no use without it.
    pub fn repair(&self, problem: &Problem) -> Result<Repair> {
        let inner = self.inner();
        match problem {
            Problem::MissingBlob { digest } | Problem::DamagedBlob { digest, .. } => {
                let lost = inner.db.write_durably(|tx| {
                    let sql = format!("SELECT {NAME} FROM images WHERE id = ?1 OR manifest = ?1");
                    let lost = texts(tx, &sql, (bytes(digest),))?;
                    blob::forget(tx, digest)?;
                    Ok([lost, drop_images(tx)?].concat())
                })?;
                inner.fresh.release_blob(digest);
                inner.root.unlink(&layout::blob(digest))?;
                Ok(Repair { done: true, lost, ..Repair::default() })
            }
            Problem::MissingSnapshot { id } | Problem::DamagedSnapshot { id, .. } => {
                self.drop_line(*id)
            }
            Problem::Leftover { path } => {
                let parent = path.parent().unwrap_or(path);
                let name = path.file_name().unwrap_or_default();
                let result =
                    rustix::fs::open(parent, crate::root::DIRECTORY, rustix::fs::Mode::empty())
                        .and_then(|parent| remove::tree(parent, name));
                result.map_err(|errno| inner.root.error("remove", path, errno))?;
                Ok(Repair { done: true, ..Repair::default() })
            }
            Problem::Unreadable { .. } | Problem::Database { .. } => Ok(Repair::default()),
        }
    }

    /// Drops the blobs that were read through this handle and found
    /// [damaged](crate::StoreError::DamagedBlob), with what is of no use without them. Which they
    /// were, and the images that are gone with them.
    pub fn drop_damaged(&self) -> Result<Vec<(Digest, Vec<String>)>> {
        let inner = self.inner();
        let mut damaged = inner.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = Vec::new();
        while let Some(digest) = damaged.pop_first() {
            // Somebody else may have mended it since.
            let found = epoch::hash_blob(&inner.root, &digest)?.filter(|found| *found != digest);
            if let Some(found) = found {
                let repair = self.repair(&Problem::DamagedBlob { digest, found })?;
                dropped.push((digest, repair.lost));
            }
        }
        Ok(dropped)
    }

    /// Drops a snapshot and all that lie on it.
    fn drop_line(&self, id: SnapshotId) -> Result<Repair> {
        let inner = self.inner();
        let (repair, gone) = inner.db.write_durably(|tx| {
            let sql = format!(
                "{LINE} SELECT name FROM containers
                 WHERE id IN (SELECT container FROM snapshots WHERE id IN line)"
            );
            let containers = texts(tx, &sql, (id,))?;
            if !containers.is_empty() {
                return Ok((Repair { containers, ..Repair::default() }, Vec::new()));
            }
            let sql = format!("{LINE} SELECT id FROM line");
            let gone: Vec<SnapshotId> =
                tx.prepare(&sql)?.query_map((id,), |row| row.get(0))?.collect::<Result<_, _>>()?;
            for id in &gone {
                inner.session()?.mark(&inner.root, *id)?;
            }
            // In one statement: none of them has a parent that stays without it.
            tx.execute(&format!("{LINE} DELETE FROM snapshots WHERE id IN line"), (id,))?;
            let lost = drop_images(tx)?;
            Ok((Repair { done: true, lost, ..Repair::default() }, gone))
        })?;
        for id in gone {
            inner.fresh.release_snapshot(id);
            inner.abandon(id);
        }
        Ok(repair)
    }
}

/// A name for an image, in SQL.
const NAME: &str = "coalesce((SELECT min(name) FROM tags WHERE image = images.id),
     'sha256:' || lower(hex(images.id)))";

/// Drops the images that are neither unpacked nor have blobs of all their layers; their names.
fn drop_images(tx: &Transaction<'_>) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    let mut select = tx.prepare(&format!(
        "SELECT id, {NAME}, layers FROM images WHERE snapshot IS NULL AND length(layers) > 0"
    ))?;
    let mut known = tx.prepare("SELECT 1 FROM layer_blobs WHERE diff_id = ?1")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let id: [u8; 32] = row.get(0)?;
        let layers = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let mut missing = false;
        for layer in layers.as_chunks::<32>().0 {
            missing |= !known.exists((layer.as_slice(),))?;
        }
        if missing {
            tx.execute("DELETE FROM images WHERE id = ?1", (id.as_slice(),))?;
            lost.push(row.get(1)?);
        }
    }
    Ok(lost)
}

fn layers_of(db: &Connection, blob: &Digest) -> Result<Vec<(Digest, String)>> {
    let mut select = db.prepare("SELECT diff_id, media_type FROM layer_blobs WHERE digest = ?1")?;
    let rows =
        select.query_map((bytes(blob),), |row| Ok((crate::db::digest(row, 0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn images_with(db: &Connection, layer: &Digest) -> Result<Vec<String>> {
    let sql = format!("SELECT {NAME} FROM images WHERE instr(layers, ?1) > 0");
    texts(db, &sql, (bytes(layer),))
}

fn texts(db: &Connection, sql: &str, params: impl Params) -> Result<Vec<String>> {
    let mut select = db.prepare(sql)?;
    Ok(select.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?)
}
