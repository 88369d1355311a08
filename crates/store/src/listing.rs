//! Listings of the files that operations took from outside, by the digest that stands for them in
//! cache records. They are for people who ask what changed: what is lost or torn is not missed.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};

use bld_oci::Digest;

use crate::error::{Result, StoreError};
use crate::temporary::Temporary;
use crate::{Store, layout, list};

impl Store {
    /// Keeps a listing of the files that `content` stands for, unless there is one. It stays as long
    /// as a cache record has them as an input, which is to be there already.
    pub fn put_listing(
        &self,
        content: &Digest,
        listing: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<()> {
        let name = layout::listing(content);
        let root = &self.inner().root;
        if root.open_file(&name)?.is_some() {
            return Ok(());
        }
        let Some(listing) = listing() else { return Ok(()) };
        root.ensure_dir(layout::LISTINGS)?;
        let (temporary, mut file) = Temporary::create(self, "listing")?;
        file.write_all(&listing).map_err(|error| temporary.error("write", error))?;
        temporary.rename(&name)
    }

    /// The listing kept for `content`, as it was written unless the power failed.
    pub fn listing(&self, content: &Digest) -> Result<Option<Vec<u8>>> {
        let name = layout::listing(content);
        let root = &self.inner().root;
        let Some(file) = root.open_file(&name)? else { return Ok(None) };
        let mut listing = Vec::new();
        let read = std::fs::File::from(file).read_to_end(&mut listing);
        read.map_err(|error| StoreError::io("read", root.join(&name), error))?;
        Ok(Some(listing))
    }

    /// Removes the listings of files that no record has as an input.
    pub(crate) fn remove_listings(&self) -> Result<()> {
        let inner = self.inner();
        let names = list::texts(&inner.root, layout::LISTINGS)?;
        if names.is_empty() {
            return Ok(());
        }
        let known: HashSet<String> = inner.column(
            "SELECT DISTINCT json_extract(input.value, '$.content')
             FROM records, json_each(records.inputs) AS input
             WHERE json_extract(input.value, '$.content') IS NOT NULL",
        )?;
        for name in names {
            let Ok(content) = Digest::from_hex(&name) else { continue };
            if !known.contains(&content.to_string()) {
                inner.root.unlink(&layout::listing(&content))?;
            }
        }
        Ok(())
    }
}
