//! From a config and snapshots to an image in the store.

use std::time::{Duration, SystemTime};

use bld_layer::TarOptions;
use bld_oci::{Digest, History, ImageConfig, Platform, chain_ids};
use bld_store::{ImageRecord, SnapshotId, SnapshotInfo, Store, StoreError};
use jiff::Timestamp;
use rayon::prelude::*;

use crate::beginnings::KnownBeginnings;
use crate::error::ExportError;

/// What an image is made of before it has an id.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The config with the history of the base only; `rootfs` and `created` are filled in here.
    pub config: ImageConfig,
    /// What is added to the history, oldest first. The entries that are not `empty_layer` stand for
    /// the layers on top of the base, in order.
    pub history: Vec<History>,
    /// The topmost layer; none for an image without layers.
    pub snapshot: Option<SnapshotId>,
    /// The platform.
    pub platform: Platform,
    /// A fixed time for everything that carries one (`SOURCE_DATE_EPOCH`), seconds since 1970.
    pub epoch: Option<i64>,
}

/// Puts the image into the store, and with it makes everything durable that it is made of: as
/// [`describe`], then [`Store::put_image`].
pub fn assemble(store: &Store, recipe: Recipe) -> Result<ImageRecord, ExportError> {
    let image = describe(store, recipe)?;
    store.put_image(&image)?;
    Ok(image)
}

/// Finds out which image that is: diff ids of all layers (those not known are computed in
/// parallel), config, record. The config is a blob of the store, the image is not in it yet; all an
/// archive or a registry needs is there. Images of the same id are the same image.
///
/// Times come from the snapshots, so that a build whose steps are all known gives the same id
/// again.
pub fn describe(store: &Store, recipe: Recipe) -> Result<ImageRecord, ExportError> {
    let layers = layers(store, recipe.snapshot)?;
    let diff_ids = diff_ids(store, &layers)?;
    let mut config = recipe.config;
    let mut added = layers.iter().skip(config.rootfs.diff_ids.len());
    let mut history = recipe.history;
    for entry in &mut history {
        let layer = if entry.empty_layer { None } else { added.next() };
        entry.created = match (recipe.epoch, layer) {
            (Some(epoch), _) => Some(timestamp(epoch, 0)?),
            (None, Some(layer)) => Some(created(layer)?),
            (None, None) => None,
        };
    }
    config.created = fill_times(&config.history, &mut history);
    config.history.extend(history);
    config.rootfs.diff_ids = diff_ids.iter().map(|(digest, _)| *digest).collect();
    for (chain, layer) in chain_ids(&config.rootfs.diff_ids).iter().zip(&layers) {
        if store.snapshot_of_chain(chain)?.is_none() {
            store.set_chain(chain, layer.id)?;
        }
    }
    let id = store.put_blob(&config.to_bytes())?;
    let record = ImageRecord {
        id,
        manifest: None,
        platform: recipe.platform.to_string(),
        layers: config.rootfs.diff_ids.clone(),
        created: record_time(config.created.as_deref()),
        size: diff_ids.iter().map(|(_, size)| size).sum(),
        snapshot: recipe.snapshot,
    };
    // A record that is there may know more, such as the manifest it was pulled by.
    let known = store.image(&id)?.filter(|known| known.snapshot.is_some());
    Ok(known.unwrap_or(record))
}

/// Gives each of the `new` entries that made no layer the time of the one before it. What precedes
/// the first new layer takes its time: the base may be years older. Returns the time of the image.
fn fill_times(base: &[History], new: &mut [History]) -> Option<String> {
    let time = |entry: &History| entry.created.clone();
    let mut last = new.iter().find_map(time).or_else(|| base.iter().rev().find_map(time));
    for entry in new {
        match &entry.created {
            Some(created) => last = Some(created.clone()),
            None => entry.created.clone_from(&last),
        }
    }
    last
}

pub(crate) fn layers(
    store: &Store,
    top: Option<SnapshotId>,
) -> Result<Vec<SnapshotInfo>, ExportError> {
    let Some(top) = top else { return Ok(Vec::new()) };
    let mut layers = Vec::new();
    for id in store.ancestry(top)? {
        layers.push(store.snapshot(id)?.ok_or(StoreError::MissingSnapshot { id })?);
    }
    Ok(layers)
}

/// Diff id and uncompressed size of each layer.
fn diff_ids(store: &Store, layers: &[SnapshotInfo]) -> Result<Vec<(Digest, u64)>, ExportError> {
    let known = |layer: &SnapshotInfo| Some((layer.diff_id?, layer.diff_size?));
    // Where all are known the pool is not even started.
    if let Some(known) = layers.iter().map(known).collect() {
        return Ok(known);
    }
    layers
        .par_iter()
        .map(|layer| match (known(layer), layer.diff_id) {
            (Some(known), _) => Ok(known),
            // It is elsewhere: the size there has to do.
            (None, Some(diff_id)) => {
                let source = store.layer_sources(&diff_id)?.into_iter().next();
                Ok((diff_id, source.map_or(0, |source| source.blob.size)))
            }
            (None, None) => {
                let dir = store.layer(layer.id);
                let mut known = KnownBeginnings::new(store, layer.id);
                let options = TarOptions::default();
                let (diff_id, size) = bld_layer::diff_id_after(&dir, &options, &mut known)?;
                known.save()?;
                store.set_diff_id(layer.id, &diff_id, size)?;
                Ok((diff_id, size))
            }
        })
        .collect()
}

fn created(layer: &SnapshotInfo) -> Result<String, ExportError> {
    let since = layer.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs() as i64, since.subsec_nanos() as i32)
}

fn timestamp(seconds: i64, nanos: i32) -> Result<String, ExportError> {
    Timestamp::new(seconds, nanos)
        .map(|time| time.to_string())
        .map_err(|error| ExportError::malformed("the time of the image", error))
}

fn record_time(created: Option<&str>) -> SystemTime {
    let parsed = created.and_then(|created| created.parse::<Timestamp>().ok());
    let seconds = parsed.map_or(0, |time| u64::try_from(time.as_second()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
