//! Names that stand for images of several platforms.

use std::collections::BTreeMap;

use bld_event::Task;
use bld_export::{IndexEntry, ManifestOptions};
use bld_oci::{Digest, Platform};
use bld_store::{ImageRecord, Store};

use crate::Result;

/// The images with these ids, those that are gone left out.
pub(crate) fn records(store: &Store, ids: &[Digest]) -> Result<Vec<ImageRecord>> {
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.extend(store.image(id)?);
    }
    Ok(records)
}

/// The image that is for `platform` among those that `name`, a canonical reference, stands for.
pub(crate) fn variant(
    store: &Store,
    name: &str,
    platform: &Platform,
) -> Result<Option<ImageRecord>> {
    let fits = |image: &ImageRecord| {
        Platform::parse(&image.platform).is_ok_and(|found| found.satisfies(platform))
    };
    Ok(records(store, &store.variants(name)?)?.into_iter().find(fits))
}

/// What an index says of `images`; layers that are no blobs yet become some.
pub(crate) fn index_entries(
    store: &Store,
    images: &[ImageRecord],
    task: &Task,
) -> Result<Vec<IndexEntry>> {
    let mut entries = Vec::with_capacity(images.len());
    for image in images {
        let progress = |done, all| {
            let what = format!("exporting layers for {}", image.platform);
            task.progress(what, done as u64, Some(all as u64), done == all);
        };
        let manifest = match bld_export::stored_manifest(store, image)? {
            Some(manifest) => manifest,
            None => bld_export::manifest(store, image, &ManifestOptions::default(), &progress)?,
        };
        let platform = Platform::parse(&image.platform)?;
        entries.push(IndexEntry { manifest, platform, annotations: BTreeMap::new() });
    }
    Ok(entries)
}
