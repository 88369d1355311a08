//! Images, their tags, and the digests they have in repositories.

use std::iter;
use std::time::SystemTime;

use bld_oci::Digest;
use rusqlite::{OptionalExtension as _, Params, Row, Transaction};

use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::{SnapshotId, Store};

/// An image of this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of its configuration, which is a blob of the store.
    pub id: Digest,
    /// Digest of its manifest, a blob of the store, if it has been made or pulled.
    pub manifest: Option<Digest>,
    /// Its platform, such as `linux/amd64`.
    pub platform: String,
    /// Diff ids of its layers, lowest first.
    pub layers: Vec<Digest>,
    /// When it says it was created.
    pub created: SystemTime,
    /// Size of its layers, unpacked, in bytes.
    pub size: u64,
    /// Its root file system, if it is unpacked.
    pub snapshot: Option<SnapshotId>,
}

const SELECT: &str = "SELECT id, manifest, platform, layers, created, size, snapshot FROM images";

impl ImageRecord {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let layers = row.get_ref(3)?.as_blob()?;
        Ok(Self {
            id: db::digest(row, 0)?,
            manifest: db::optional_digest(row, 1)?,
            platform: row.get(2)?,
            layers: layers.as_chunks().0.iter().copied().map(Digest::from_bytes).collect(),
            created: db::time(row.get(4)?),
            size: row.get::<_, i64>(5)?.cast_unsigned(),
            snapshot: row.get(6)?,
        })
    }

    /// Whether putting `new` over this would change nothing.
    fn covers(&self, new: &Self) -> bool {
        let new = Self {
            manifest: new.manifest.or(self.manifest),
            snapshot: new.snapshot.or(self.snapshot),
            ..new.clone()
        };
        *self == new
    }
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The canonical reference, such as `docker.io/library/busybox:latest`.
    pub name: String,
    /// The image it names.
    pub id: Digest,
    /// When it was set.
    pub created: SystemTime,
}

/// A digest by which a repository knows an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoDigest {
    /// The repository, such as `docker.io/library/busybox`.
    pub repo: String,
    /// Digest of the manifest or index there.
    pub digest: Digest,
    /// The image.
    pub id: Digest,
}

impl Store {
    /// Adds an image, and makes it and everything else committed so far durable: when this returns,
    /// no power cut takes it away. Its manifest and snapshot may be put later or again; leaving
    /// them out keeps those that were put before. Nothing is done for an image that is here as
    /// given. Until it is [tagged](Store::tag), this handle holds it.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] for config or manifest, [`StoreError::MissingSnapshot`]
    pub fn put_image(&self, image: &ImageRecord) -> Result<()> {
        let inner = self.inner();
        // Held until it has a name: an image without one may be collected.
        inner.fresh.insert_blob(image.id, || inner.hold_blob(&image.id))?;
        if self.image(&image.id)?.is_some_and(|known| known.covers(image)) {
            return Ok(());
        }
        let named = inner.hold_blobs(iter::once(image.id).chain(image.manifest))?;
        inner.publish(|tx| {
            named.enter(tx, true)?;
            insert(tx, image)
        })?;
        if let Some(manifest) = &image.manifest {
            inner.fresh.release_blob(manifest);
        }
        inner.release_layers(&image.layers)
    }

    /// The image with this id.
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRecord>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            Ok(select.query_row((bytes(id),), ImageRecord::read).optional()?)
        })
    }

    /// All images, the latest created first.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(&format!("{SELECT} ORDER BY created DESC, id"))?;
            Ok(select.query_map((), ImageRecord::read)?.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets an image, its tags and repository digests; whether there was such an image. What
    /// it was made of stays until garbage is [collected](Store::gc).
    pub fn delete_image(&self, id: &Digest) -> Result<bool> {
        self.inner().db.write_durably(|tx| {
            Ok(tx.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute((bytes(id),))? > 0)
        })
    }

    /// Ids of the images that begin with these hexadecimal digits.
    pub fn find_by_prefix(&self, hex: &str) -> Result<Vec<Digest>> {
        // Ids are compared as bytes, so a prefix is a range.
        let (Ok(low), Ok(high)) =
            (Digest::from_hex(&format!("{hex:0<64}")), Digest::from_hex(&format!("{hex:f<64}")))
        else {
            return Ok(Vec::new());
        };
        self.inner().db.with(|db| {
            let sql = "SELECT id FROM images WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
            let mut select = db.prepare_cached(sql)?;
            let ids = select.query_map((bytes(&low), bytes(&high)), |row| db::digest(row, 0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
    }

    /// Lets the canonical reference `name` be that of image `id`, durably; with `repo_digest`, its
    /// repository is also said to know the image by that digest. The image that had the name
    /// loses it. Nothing is written when that is how it is.
    ///
    /// # Errors
    /// [`StoreError::MissingImage`]
    pub fn tag(&self, name: &str, id: &Digest, repo_digest: Option<Digest>) -> Result<()> {
        let repo_digest = repo_digest.map(|digest| (repository(name), digest));
        let named = self.resolve(name)? == Some(*id) && self.variants(name)?.is_empty();
        let known = match &repo_digest {
            Some((repo, digest)) => self.find_repo_digest(repo, digest)? == Some(*id),
            None => true,
        };
        let inner = self.inner();
        if named && known {
            inner.fresh.release_blob(id);
            return Ok(());
        }
        inner.db.write_durably(|tx| {
            put_tag(tx, name, id)?;
            match repo_digest {
                Some((repo, digest)) => insert_repo_digest(tx, repo, &digest, id),
                None => Ok(()),
            }
        })?;
        inner.fresh.release_blob(id);
        Ok(())
    }

    /// Lets the canonical reference `name` stand for images of several platforms, durably: for
    /// `main`, one of them, where no platform is asked for.
    ///
    /// # Errors
    /// [`StoreError::MissingImage`]
    pub fn tag_variants(&self, name: &str, ids: &[Digest], main: &Digest) -> Result<()> {
        let inner = self.inner();
        inner.db.write_durably(|tx| {
            put_tag(tx, name, main)?;
            let sql = "INSERT OR IGNORE INTO variants (name, image, place) VALUES (?1, ?2, ?3)";
            let mut insert = tx.prepare_cached(sql)?;
            for (place, id) in (0_i64..).zip(ids) {
                require(tx, id)?;
                insert.execute((name, bytes(id), place))?;
            }
            Ok(())
        })?;
        for id in ids {
            inner.fresh.release_blob(id);
        }
        Ok(())
    }

    /// The images of several platforms that `name` stands for; none if it stands for one image, or
    /// for nothing.
    pub fn variants(&self, name: &str) -> Result<Vec<Digest>> {
        self.inner().db.with(|db| {
            let sql = "SELECT image FROM variants WHERE name = ?1 ORDER BY place";
            let mut select = db.prepare_cached(sql)?;
            let ids = select.query_map((name,), |row| db::digest(row, 0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
    }

    /// Whether a name stands for this image among those of other platforms.
    pub fn is_variant(&self, id: &Digest) -> Result<bool> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached("SELECT 1 FROM variants WHERE image = ?1")?;
            Ok(select.exists((bytes(id),))?)
        })
    }

    /// Removes a name; whether there was such a name.
    pub fn untag(&self, name: &str) -> Result<bool> {
        self.inner().db.write_durably(|tx| {
            Ok(tx.prepare_cached("DELETE FROM tags WHERE name = ?1")?.execute((name,))? > 0)
        })
    }

    /// The image of this name.
    pub fn resolve(&self, name: &str) -> Result<Option<Digest>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached("SELECT image FROM tags WHERE name = ?1")?;
            Ok(select.query_row((name,), |row| db::digest(row, 0)).optional()?)
        })
    }

    /// All names, sorted.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        self.select_tags("ORDER BY name", ())
    }

    /// The names of an image, sorted.
    pub fn tags_of(&self, id: &Digest) -> Result<Vec<Tag>> {
        self.select_tags("WHERE image = ?1 ORDER BY name", (bytes(id),))
    }

    fn select_tags(&self, which: &str, params: impl Params) -> Result<Vec<Tag>> {
        self.inner().db.with(|db| {
            let mut select =
                db.prepare_cached(&format!("SELECT name, image, created FROM tags {which}"))?;
            let tags = select.query_map(params, |row| {
                Ok(Tag {
                    name: row.get(0)?,
                    id: db::digest(row, 1)?,
                    created: db::time(row.get(2)?),
                })
            })?;
            Ok(tags.collect::<Result<_, _>>()?)
        })
    }

    /// Says that the repository `repo` knows image `id` by `digest`.
    ///
    /// # Errors
    /// [`StoreError::MissingImage`]
    pub fn add_repo_digest(&self, repo: &str, digest: &Digest, id: &Digest) -> Result<()> {
        if self.find_repo_digest(repo, digest)? == Some(*id) {
            return Ok(());
        }
        self.inner().db.write(|tx| {
            require(tx, id)?;
            insert_repo_digest(tx, repo, digest, id)
        })
    }

    /// The image that the repository `repo` knows by `digest`.
    pub fn find_repo_digest(&self, repo: &str, digest: &Digest) -> Result<Option<Digest>> {
        self.inner().db.with(|db| {
            let mut select = db
                .prepare_cached("SELECT image FROM repo_digests WHERE repo = ?1 AND digest = ?2")?;
            Ok(select.query_row((repo, bytes(digest)), |row| db::digest(row, 0)).optional()?)
        })
    }

    /// By what digests repositories know an image, sorted by repository.
    pub fn repo_digests_of(&self, id: &Digest) -> Result<Vec<RepoDigest>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(
                "SELECT repo, digest FROM repo_digests WHERE image = ?1 ORDER BY repo, digest",
            )?;
            let digests = select.query_map((bytes(id),), |row| {
                Ok(RepoDigest { repo: row.get(0)?, digest: db::digest(row, 1)?, id: *id })
            })?;
            Ok(digests.collect::<Result<_, _>>()?)
        })
    }
}

fn insert(tx: &Transaction<'_>, image: &ImageRecord) -> Result<()> {
    if let Some(id) = image.snapshot
        && !tx.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1")?.exists((id,))?
    {
        return Err(StoreError::MissingSnapshot { id });
    }
    // Not "OR REPLACE", which would delete the row and with it the image's tags.
    let mut insert = tx.prepare_cached(
        "INSERT INTO images (id, manifest, platform, layers, created, size, snapshot)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET
             manifest = coalesce(excluded.manifest, manifest),
             platform = excluded.platform,
             layers = excluded.layers,
             created = excluded.created,
             size = excluded.size,
             snapshot = coalesce(excluded.snapshot, snapshot)",
    )?;
    insert.execute((
        bytes(&image.id),
        image.manifest.as_ref().map(bytes),
        &image.platform,
        image.layers.iter().flat_map(Digest::as_bytes).copied().collect::<Vec<u8>>(),
        db::nanoseconds(image.created),
        image.size.cast_signed(),
        image.snapshot,
    ))?;
    Ok(())
}

/// Gives an image a name, which stands for it alone.
fn put_tag(tx: &Transaction<'_>, name: &str, id: &Digest) -> Result<()> {
    require(tx, id)?;
    tx.prepare_cached("DELETE FROM variants WHERE name = ?1")?.execute((name,))?;
    let mut insert = tx
        .prepare_cached("INSERT OR REPLACE INTO tags (name, image, created) VALUES (?1, ?2, ?3)")?;
    insert.execute((name, bytes(id), db::nanoseconds(SystemTime::now())))?;
    Ok(())
}

fn insert_repo_digest(
    tx: &Transaction<'_>,
    repo: &str,
    digest: &Digest,
    id: &Digest,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO repo_digests (repo, digest, image) VALUES (?1, ?2, ?3)",
    )?
    .execute((repo, bytes(digest), bytes(id)))?;
    Ok(())
}

/// Fails unless there is such an image.
fn require(tx: &Transaction<'_>, id: &Digest) -> Result<()> {
    let mut select = tx.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?;
    if select.exists((bytes(id),))? { Ok(()) } else { Err(StoreError::MissingImage { id: *id }) }
}

/// The repository of a reference: all but the tag. A colon before the last slash is a port.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn repositories() {
        assert_eq!(repository("docker.io/library/busybox:latest"), "docker.io/library/busybox");
        assert_eq!(repository("localhost:5000/app"), "localhost:5000/app");
        assert_eq!(repository("localhost:5000/app:1"), "localhost:5000/app");
    }
}
