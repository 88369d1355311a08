//! Small things to remember: values by bucket and key.

use rusqlite::OptionalExtension as _;

use crate::Store;
use crate::error::Result;

impl Store {
    /// The value of `key` in `bucket`.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner().db.with(|db| {
            let mut select =
                db.prepare_cached("SELECT value FROM notes WHERE bucket = ?1 AND key = ?2")?;
            Ok(select.query_row((bucket, key), |row| row.get(0)).optional()?)
        })
    }

    /// Sets the value of `key` in `bucket`. Kept until [deleted](Self::delete); a power cut may take
    /// the latest ones.
    pub fn put(&self, bucket: &str, key: &str, value: &[u8]) -> Result<()> {
        self.inner().db.with(|db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO notes (bucket, key, value) VALUES (?1, ?2, ?3)",
            )?
            .execute((bucket, key, value))?;
            Ok(())
        })
    }

    /// Removes `key` from `bucket`; whether it was there.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<bool> {
        self.inner().db.with(|db| {
            let mut delete =
                db.prepare_cached("DELETE FROM notes WHERE bucket = ?1 AND key = ?2")?;
            Ok(delete.execute((bucket, key))? > 0)
        })
    }

    /// The keys of `bucket`, sorted.
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>> {
        self.inner().db.with(|db| {
            let mut select =
                db.prepare_cached("SELECT key FROM notes WHERE bucket = ?1 ORDER BY key")?;
            Ok(select.query_map((bucket,), |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}
