//! Everything that is known of one image.

use std::path::PathBuf;
use std::time::SystemTime;

use bld_oci::{Digest, History, ImageConfig, Platform, Reference};
use bld_store::{ImageRecord, RepoDigest, Store};

use super::{ImageLayer, config, find};
use crate::{Engine, Result};

/// One image with its configuration and its names.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// The record in the store.
    pub record: ImageRecord,
    /// The configuration.
    pub config: ImageConfig,
    /// Its tags, sorted.
    pub tags: Vec<Reference>,
    /// The digests it is known under in registries.
    pub repo_digests: Vec<RepoDigest>,
    /// When it last got a name here.
    pub last_tagged: Option<SystemTime>,
    /// Directories of its layers, lowest first; empty when they are not unpacked.
    pub layer_dirs: Vec<PathBuf>,
}

/// One line of an image's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image, for the newest line; the others are not images here.
    pub id: Option<Digest>,
    /// When, RFC 3339.
    pub created: Option<String>,
    /// The instruction or command.
    pub created_by: String,
    /// Uncompressed size of its layer; 0 without one.
    pub size: u64,
    /// Anything.
    pub comment: String,
}

impl Engine {
    /// Everything that is known of the image `name`.
    pub fn image_details(&self, name: &str) -> Result<ImageDetails> {
        self.image_details_for(name, None)
    }

    /// As [`image_details`](Self::image_details), of the image for `platform` among those that the name stands
    /// for.
    ///
    /// # Errors
    /// [`EngineError::WrongPlatform`](crate::EngineError::WrongPlatform) when there is none.
    pub fn image_details_for(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageDetails> {
        let store = self.store()?;
        let main = find::find(self, name)?.record.id;
        let record = find::find_exactly(self, name, platform)?.record;
        let tags = store.tags_of(&main)?;
        let layer_dirs = match record.snapshot {
            Some(snapshot) if store.is_here(snapshot)? => store.ancestry(snapshot)?,
            _ => Vec::new(),
        };
        let layer_dirs = layer_dirs.into_iter().map(|id| store.layer(id)).collect();
        Ok(ImageDetails {
            config: config(store, &record.id)?,
            last_tagged: tags.iter().map(|tag| tag.created).max(),
            tags: tags.iter().filter_map(|tag| Reference::parse(&tag.name).ok()).collect(),
            repo_digests: store.repo_digests_of(&record.id)?,
            layer_dirs,
            record,
        })
    }

    /// What the image `name` was made by, newest first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        self.image_history_for(name, None)
    }

    /// As [`image_history`](Self::image_history), of the image for `platform` among those that the name stands
    /// for.
    ///
    /// # Errors
    /// [`EngineError::WrongPlatform`](crate::EngineError::WrongPlatform) when there is none.
    pub fn image_history_for(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<HistoryEntry>> {
        let store = self.store()?;
        let record = find::find_exactly(self, name, platform)?.record;
        let config = config(store, &record.id)?;
        let mut sizes = layer_sizes(store, &record)?.into_iter();
        let mut history: Vec<_> = config
            .history
            .into_iter()
            .map(|entry| HistoryEntry {
                id: None,
                created: entry.created,
                created_by: entry.created_by.unwrap_or_default(),
                size: if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                comment: entry.comment.unwrap_or_default(),
            })
            .collect();
        // Tools that write no history still write layers.
        history.extend(sizes.map(|size| HistoryEntry {
            id: None,
            created: config.created.clone(),
            created_by: String::new(),
            size,
            comment: String::new(),
        }));
        history.reverse();
        if let Some(newest) = history.first_mut() {
            newest.id = Some(record.id);
        }
        Ok(history)
    }
}

/// The layers of an image, the lowest first, with what its history tells of them.
pub(super) fn layers_of(
    image: &ImageRecord,
    history: &[History],
    sizes: &[u64],
) -> Vec<ImageLayer> {
    let mut entries = history.iter().filter(|entry| !entry.empty_layer);
    let layer = |(n, diff_id): (usize, &Digest)| ImageLayer {
        diff_id: *diff_id,
        size: sizes.get(n).copied().unwrap_or(0),
        created_by: entries.next().and_then(|entry| entry.created_by.clone()).unwrap_or_default(),
    };
    image.layers.iter().enumerate().map(layer).collect()
}

/// Uncompressed sizes where the layers are unpacked, else sizes of their blobs; lowest first.
pub(super) fn layer_sizes(store: &Store, image: &ImageRecord) -> Result<Vec<u64>> {
    let mut sizes = Vec::with_capacity(image.layers.len());
    match image.snapshot {
        Some(snapshot) => {
            for id in store.ancestry(snapshot)? {
                let info = store.snapshot(id)?;
                let source = match info.as_ref().and_then(|info| info.diff_id) {
                    Some(diff_id) if info.as_ref().is_some_and(|info| info.diff_size.is_none()) => {
                        store.layer_sources(&diff_id)?.into_iter().next()
                    }
                    _ => None,
                };
                let elsewhere = source.map(|source| source.blob.size);
                sizes.push(info.and_then(|info| info.diff_size).or(elsewhere).unwrap_or(0));
            }
        }
        None => {
            for diff_id in &image.layers {
                sizes.push(store.any_layer_blob(diff_id)?.map_or(0, |blob| blob.size));
            }
        }
    }
    sizes.truncate(image.layers.len());
    Ok(sizes)
}
