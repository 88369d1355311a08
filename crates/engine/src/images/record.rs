//! From a manifest whose blobs are in the store to an image in the store.

use std::time::{Duration, SystemTime};

use bld_oci::{Descriptor, DescriptorExt as _, Digest, ImageConfig, document};
use bld_store::{ImageRecord, LayerBlob, Store};

use crate::{EngineError, Result};

/// The configuration of the image `id`.
pub fn config(store: &Store, id: &Digest) -> Result<ImageConfig> {
    ImageConfig::parse(&store.read_blob(id)?)
        .map_err(|source| EngineError::Config { image: *id, source })
}

/// A layer blob under the key of those that came from elsewhere.
pub(crate) fn note_layer(store: &Store, diff_id: &Digest, blob: &LayerBlob) -> Result<()> {
    // Not the key of a compression of ours: how it was made is not known.
    Ok(store.set_layer_blob(diff_id, &format!("from-elsewhere {}", blob.media_type), blob)?)
}

/// Enters the image of a manifest whose manifest, configuration and layer blobs are in the store.
pub(crate) fn from_manifest(store: &Store, manifest: &[u8]) -> Result<ImageRecord> {
    let digest = Digest::of(manifest);
    let malformed = |problem: String| EngineError::Archive { problem };
    let parsed = document::parse_manifest(manifest)
        .map_err(|error| malformed(format!("manifest {digest}: {error}")))?;
    let id = parsed.config().sha256().map_err(|error| malformed(error.to_string()))?;
    let layers = parsed.layers().iter().map(layer_blob).collect::<Result<Vec<_>>>()?;
    enter(store, &id, Some(digest), &layers)
}

/// What a manifest says of a layer.
pub(crate) fn layer_blob(layer: &Descriptor) -> Result<LayerBlob> {
    Ok(LayerBlob {
        digest: layer
            .sha256()
            .map_err(|error| EngineError::Archive { problem: error.to_string() })?,
        size: layer.size(),
        media_type: layer.media_type().to_string(),
    })
}

/// Enters the image `id`, whose configuration and layer blobs are in the store.
pub(crate) fn enter(
    store: &Store,
    id: &Digest,
    manifest: Option<Digest>,
    layers: &[LayerBlob],
) -> Result<ImageRecord> {
    let record = describe(store, id, manifest, layers)?;
    note_layers(store, &record, layers)?;
    store.put_image(&record)?;
    Ok(record)
}

/// Notes the blobs of an image's layers, which are in the store.
pub(crate) fn note_layers(store: &Store, image: &ImageRecord, layers: &[LayerBlob]) -> Result<()> {
    for (diff_id, blob) in image.layers.iter().zip(layers) {
        note_layer(store, diff_id, blob)?;
    }
    Ok(())
}

/// The record of the image `id`, whose configuration is in the store and whose layers need not be.
pub(crate) fn describe(
    store: &Store,
    id: &Digest,
    manifest: Option<Digest>,
    layers: &[LayerBlob],
) -> Result<ImageRecord> {
    let config = config(store, id)?;
    let diff_ids = config.rootfs.diff_ids.clone();
    if diff_ids.len() != layers.len() {
        return Err(EngineError::Archive {
            problem: format!("image {id} names {} layers and has {}", diff_ids.len(), layers.len()),
        });
    }
    let known = store.image(id)?;
    Ok(ImageRecord {
        id: *id,
        manifest: manifest.or(known.as_ref().and_then(|known| known.manifest)),
        platform: config.platform().to_string(),
        layers: diff_ids,
        created: created(config.created.as_deref()),
        size: known.as_ref().map_or_else(|| layers.iter().map(|l| l.size).sum(), |k| k.size),
        snapshot: known.and_then(|known| known.snapshot),
    })
}

/// The time an image says it was made; the epoch when it says none.
fn created(text: Option<&str>) -> SystemTime {
    let parsed = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let seconds = parsed.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
