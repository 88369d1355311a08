//! Layers whose files are somewhere else: known by their digests and by where to get them, and
//! brought here when somebody needs what is in them.
//!
//! Such a snapshot is a row as any other, and an empty directory, which is there to be locked. All
//! that leads to its files, [`Store::layers`] and what is made of that, fails with
//! [`StoreError::Elsewhere`] until it has been [filled](Store::fill): nobody takes an empty directory
//! for a layer. It is kept and collected as any other, and takes no space.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use bld_oci::{Digest, chain_ids};
use rusqlite::{OptionalExtension as _, Row, Transaction};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use crate::active::create;
use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::gc::Seized;
use crate::line::Ancestor;
use crate::store::Inner;
use crate::{Active, LayerBlob, SnapshotId, Store, list, remove};

/// A layer that is known, and where its blob can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerElsewhere {
    /// Digest of its uncompressed archive.
    pub diff_id: Digest,
    /// The blob there.
    pub blob: LayerBlob,
    /// Where that is, in the caller's form, which must not hold a secret.
    pub place: String,
    /// Digest of the content of the file system up to this layer, if known; see
    /// [`SnapshotInfo::content`](crate::SnapshotInfo::content).
    pub content: Option<Digest>,
    /// When the layer was made; now, if nobody knows.
    pub created: Option<SystemTime>,
}

/// A place where a layer's blob can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSource {
    /// The blob there.
    pub blob: LayerBlob,
    /// Where that is, in the form that it was given.
    pub place: String,
}

impl LayerSource {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let blob = LayerBlob {
            digest: db::digest(row, 0)?,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            media_type: row.get(2)?,
        };
        Ok(Self { blob, place: row.get(3)? })
    }
}

/// A snapshot whose files are not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentLayer {
    /// The snapshot.
    pub id: SnapshotId,
    /// Digest of its layer's uncompressed archive.
    pub diff_id: Digest,
}

/// A snapshot and all that lies on it.
const LINE: &str = "WITH RECURSIVE line (id) AS (SELECT ?1 UNION
    SELECT above.id FROM snapshots AS above JOIN line ON above.parent = line.id)";

impl Store {
    /// A snapshot of `layers`, lowest first and at least one. Those that are not here are entered as
    /// being where `layers` says. The snapshot is held until something is built on it or the store is
    /// dropped.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] without any layer.
    pub fn put_elsewhere(&self, layers: &[LayerElsewhere]) -> Result<SnapshotId> {
        let inner = self.inner();
        loop {
            let top = inner.enter_elsewhere(layers)?;
            // A collection may have been quicker.
            if inner.fresh.insert_snapshot(top, || inner.hold_snapshot(top))? {
                return Ok(top);
            }
        }
    }

    /// Whether the files of a snapshot and of all it lies on are here.
    pub fn is_here(&self, id: SnapshotId) -> Result<bool> {
        Ok(self.absent_layers(id)?.is_empty())
    }

    /// The layers of a snapshot, and of all it lies on, whose files are not here, lowest first.
    pub fn absent_layers(&self, id: SnapshotId) -> Result<Vec<AbsentLayer>> {
        let line = self.inner().line(id)?;
        let absent = |step: Ancestor| Some(AbsentLayer { id: step.id, diff_id: step.absent? });
        Ok(line.into_iter().filter_map(absent).collect())
    }

    /// Puts the files of `made`, a snapshot in the making on top of nothing, into the place of those of
    /// `id`, which are elsewhere. Whoever does so has a lock against others who do. Nothing happens if
    /// they are here already.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`] when it is collected meanwhile.
    pub fn fill(&self, id: SnapshotId, made: &Active, size: u64) -> Result<()> {
        let inner = self.inner();
        let _held = inner.hold_snapshot(id)?.ok_or(StoreError::MissingSnapshot { id })?;
        if !inner.is_absent(id)? {
            return Ok(());
        }
        let upper = inner.upper(id);
        // The directory itself stays, as it is what others have locked. What is in it was left by a
        // process that died here.
        let failed = |error| StoreError::io("fill", &upper, error);
        let about = fs::metadata(made.upper()).map_err(failed)?;
        clear(&upper)
            .and_then(|()| move_children(made.upper(), &upper))
            .and_then(|()| copy_attributes(made.upper(), &about, &upper))
            .map_err(failed)?;
        inner.db.with(|db| {
            db.prepare_cached(
                "UPDATE snapshots SET absent = 0, synced = 0, disk = NULL, diff_size = ?2 WHERE id = ?1",
            )?
            .execute((id, size.cast_signed()))?;
            Ok(())
        })
    }

    /// Where blobs of the layer `diff_id` can be had, those that were seen last first.
    pub fn layer_sources(&self, diff_id: &Digest) -> Result<Vec<LayerSource>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(
                "SELECT digest, size, media_type, place FROM layer_sources
                 WHERE diff_id = ?1 ORDER BY seen DESC, place",
            )?;
            let rows = select.query_map((bytes(diff_id),), LayerSource::read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Notes that the layer can be had there, too. Forgotten with the last snapshot of the layer, by
    /// the next collection.
    pub fn add_layer_source(&self, diff_id: &Digest, source: &LayerSource) -> Result<()> {
        self.inner().db.write(|tx| insert_source(tx, diff_id, &source.blob, &source.place))
    }

    /// Takes notice that the layer cannot be had there any more.
    pub fn forget_layer_source(&self, diff_id: &Digest, source: &LayerSource) -> Result<()> {
        self.inner().db.with(|db| {
            db.prepare_cached(
                "DELETE FROM layer_sources WHERE diff_id = ?1 AND digest = ?2 AND place = ?3",
            )?
            .execute((bytes(diff_id), bytes(&source.blob.digest), &source.place))?;
            Ok(())
        })
    }

    /// Forgets a snapshot whose files cannot be had, with its records, and all that lies on it.
    /// Images that have it stay; their snapshot has to be made again. Nothing happens if its files are
    /// here.
    pub fn forget_absent(&self, id: SnapshotId) -> Result<()> {
        let inner = self.inner();
        let gone = inner.db.write(|tx| {
            let absent = "SELECT 1 FROM snapshots WHERE id = ?1 AND absent";
            if !tx.prepare_cached(absent)?.exists((id,))? {
                return Ok(Vec::new());
            }
            let mut select = tx.prepare_cached(&format!(
                "{LINE} SELECT id FROM snapshots WHERE id IN line AND container IS NULL"
            ))?;
            let gone: Vec<SnapshotId> =
                select.query_map((id,), |row| row.get(0))?.collect::<Result<_, _>>()?;
            // One that lies below a container has files, and so has all below it.
            tx.prepare_cached(&format!(
                "{LINE} DELETE FROM snapshots WHERE id IN line AND container IS NULL"
            ))?
            .execute((id,))?;
            Ok(gone)
        })?;
        for id in gone {
            inner.fresh.release_snapshot(id);
            // One that somebody holds, an empty directory like all of them, is swept when this
            // process has ended.
            inner.session()?.mark(&inner.root, id)?;
            if let Seized::Free(Some(_lock)) = inner.seize_snapshot(id)? {
                inner.abandon(id);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn enter_elsewhere(&self, layers: &[LayerElsewhere]) -> Result<SnapshotId> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let mut made: Vec<(SnapshotId, Lock)> = Vec::new();
        let entered = self.db.write(|tx| {
            let mut top = None;
            for (chain, layer) in chain_ids(&diff_ids).iter().zip(layers) {
                let known = tx
                    .prepare_cached("SELECT snapshot FROM chains WHERE chain = ?1")?
                    .query_row((bytes(chain),), |row| row.get(0))
                    .optional()?;
                let id = match known {
                    Some(id) => id,
                    None => {
                        let (id, lock) = self.enter_absent(tx, top, chain, layer)?;
                        made.push((id, lock));
                        id
                    }
                };
                insert_source(tx, &layer.diff_id, &layer.blob, &layer.place)?;
                top = Some(id);
            }
            top.ok_or_else(|| StoreError::Malformed {
                what: "a snapshot that is elsewhere".to_owned(),
                reason: "it has no layers".to_owned(),
            })
        });
        for (id, _lock) in made {
            match entered {
                Ok(_) => self.session()?.unmark(id),
                Err(_) => self.abandon(id),
            }
        }
        entered
    }

    /// Enters one layer on top of `parent`.
    fn enter_absent(
        &self,
        tx: &Transaction<'_>,
        parent: Option<SnapshotId>,
        chain: &Digest,
        layer: &LayerElsewhere,
    ) -> Result<(SnapshotId, Lock)> {
        let error = |errno| self.root.error("create", crate::layout::SNAPSHOTS, errno);
        let id = SnapshotId::random().map_err(error)?;
        self.session()?.mark(&self.root, id)?;
        let lock = create(self, id, None).map_err(error).inspect_err(|_| self.abandon(id))?;
        let created = db::nanoseconds(layer.created.unwrap_or_else(SystemTime::now));
        tx.prepare_cached(
            "INSERT INTO snapshots (id, parent, diff_id, content, created, synced, absent)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 1)",
        )?
        .execute((
            id,
            parent,
            bytes(&layer.diff_id),
            layer.content.as_ref().map(bytes),
            created,
        ))?;
        tx.prepare_cached("INSERT INTO chains (chain, snapshot) VALUES (?1, ?2)")?
            .execute((bytes(chain), id))?;
        Ok((id, lock))
    }

    fn is_absent(&self, id: SnapshotId) -> Result<bool> {
        self.db.with(|db| {
            let sql = "SELECT 1 FROM snapshots WHERE id = ?1 AND absent";
            Ok(db.prepare_cached(sql)?.exists((id,))?)
        })
    }

    /// Forgets where layers are that nothing has any more.
    pub(crate) fn forget_layer_sources(&self) -> Result<()> {
        self.db.with(|db| {
            // An image without a snapshot gets it from there.
            db.execute(
                "DELETE FROM layer_sources
                 WHERE NOT EXISTS (SELECT 1 FROM images WHERE snapshot IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM snapshots WHERE diff_id = layer_sources.diff_id)",
                (),
            )?;
            Ok(())
        })
    }
}

fn insert_source(
    tx: &Transaction<'_>,
    diff_id: &Digest,
    blob: &LayerBlob,
    place: &str,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO layer_sources (diff_id, digest, size, media_type, place, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        bytes(diff_id),
        bytes(&blob.digest),
        blob.size.cast_signed(),
        &blob.media_type,
        place,
        db::nanoseconds(SystemTime::now()),
    ))?;
    Ok(())
}

fn clear(dir: &Path) -> std::io::Result<()> {
    let dir = fs::File::open(dir)?;
    list::names(&dir)?.iter().try_for_each(|name| Ok(remove::tree(&dir, name)?))
}

fn move_children(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Gives the directory `to` what `from` has besides its entries, and had before they were moved.
fn copy_attributes(from: &Path, about: &fs::Metadata, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::chown(to, Some(about.uid()), Some(about.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(about.mode()))?;
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(from, &mut names[..])?;
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(from, name, &mut value[..])?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: about.atime(), tv_nsec: about.atime_nsec() },
        last_modification: Timespec { tv_sec: about.mtime(), tv_nsec: about.mtime_nsec() },
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::empty())?;
    Ok(())
}
