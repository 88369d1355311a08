//! What is said about an image: a blob that stays for as long as the image.

use bld_oci::Digest;
use rusqlite::OptionalExtension as _;

use crate::Store;
use crate::db::{self, bytes};
use crate::error::{Result, StoreError};

impl Store {
    /// What is said about the image `id`, if anything is.
    pub fn said(&self, id: &Digest) -> Result<Option<Digest>> {
        self.inner().db.with(|db| {
            let mut select = db.prepare_cached("SELECT said FROM images WHERE id = ?1")?;
            let said = select.query_row((bytes(id),), |row| db::optional_digest(row, 0));
            Ok(said.optional()?.flatten())
        })
    }

    /// Lets the blob `said` be what is said about the image `id`; without one, nothing is. A power cut
    /// may take it away.
    ///
    /// # Errors
    /// [`StoreError::MissingImage`], [`StoreError::MissingBlob`]
    pub fn set_said(&self, id: &Digest, said: Option<&Digest>) -> Result<()> {
        let inner = self.inner();
        let named = inner.hold_blobs(said.copied())?;
        inner.db.write(|tx| {
            named.enter(tx, false)?;
            let mut update = tx.prepare_cached("UPDATE images SET said = ?2 WHERE id = ?1")?;
            match update.execute((bytes(id), said.map(bytes)))? {
                0 => Err(StoreError::MissingImage { id: *id }),
                _ => Ok(()),
            }
        })
    }
}
