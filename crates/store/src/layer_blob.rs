//! Which blob has which layer, per way of compressing it.

use bld_oci::Digest;
use rusqlite::{OptionalExtension as _, Row};

use crate::Store;
use crate::db::{self, bytes};
use crate::error::Result;
use crate::store::Inner;

/// A layer as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Media type of the blob, which tells the compression.
    pub media_type: String,
}

impl LayerBlob {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            digest: db::digest(row, 0)?,
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            media_type: row.get(2)?,
        })
    }
}

impl Store {
    /// The blob that has the layer `diff_id` compressed the way `key` names.
    pub fn layer_blob(&self, diff_id: &Digest, key: &str) -> Result<Option<LayerBlob>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(
                "SELECT digest, size, media_type FROM layer_blobs JOIN blobs USING (digest)
                 WHERE diff_id = ?1 AND key = ?2",
            )?;
            Ok(select.query_row((bytes(diff_id), key), LayerBlob::read).optional()?)
        })
    }

    /// A blob that has the layer `diff_id`, compressed in any way; the smallest if there are many.
    pub fn any_layer_blob(&self, diff_id: &Digest) -> Result<Option<LayerBlob>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached(
                "SELECT digest, size, media_type FROM layer_blobs JOIN blobs USING (digest)
                 WHERE diff_id = ?1 ORDER BY size, digest LIMIT 1",
            )?;
            Ok(select.query_row((bytes(diff_id),), LayerBlob::read).optional()?)
        })
    }

    /// Remembers a blob of the layer `diff_id`. It is kept as long as a snapshot or an image has
    /// that layer; until then, by this handle. The size is that of the file, whatever `blob` says.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`](crate::StoreError::MissingBlob)
    pub fn set_layer_blob(&self, diff_id: &Digest, key: &str, blob: &LayerBlob) -> Result<()> {
        let inner = self.inner();
        let named = inner.hold_blobs([blob.digest])?;
        inner.db.write(|tx| {
            named.enter(tx, false)?;
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_blobs (diff_id, key, digest, media_type)
                 VALUES (?1, ?2, ?3, ?4)",
            )?;
            insert.execute((bytes(diff_id), key, bytes(&blob.digest), &blob.media_type))?;
            Ok(())
        })
    }
}

impl Inner {
    /// Lets go of the blobs of layers that an image has now.
    pub(crate) fn release_layers(&self, layers: &[Digest]) -> Result<()> {
        self.db.with(|db| {
            let mut select =
                db.prepare_cached("SELECT digest FROM layer_blobs WHERE diff_id = ?1")?;
            for diff_id in layers {
                let mut rows = select.query((bytes(diff_id),))?;
                while let Some(row) = rows.next()? {
                    self.fresh.release_blob(&db::digest(row, 0)?);
                }
            }
            Ok(())
        })
    }
}
