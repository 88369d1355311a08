//! Caches in the configuration of an image: its steps' results are its own layers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_oci::{Descriptor, DescriptorExt as _, ImageConfig, json};
use bld_store::LayerBlob;
use serde_json::Value;

use crate::document::{ConfigRecord, assemble, time};
use crate::{Cache, CacheError, Layer, Parsed};

/// The field of the configuration.
pub const FIELD: &str = "moby.buildkit.cache.v0";

/// The value of the field. The layers of `cache` are those of the image, in order.
///
/// # Errors
/// When a time cannot be written.
pub fn write(cache: &Cache) -> Result<Value, CacheError> {
    let records = json::to_canonical(&cache.config_records()?)
        .map_err(|error| CacheError::malformed("the cache", error))?;
    Ok(Value::String(STANDARD.encode(records)))
}

/// What the configuration of an image with these layers says; none if it says nothing.
///
/// # Errors
/// When what it says is malformed.
pub fn read(config: &ImageConfig, layers: &[Descriptor]) -> Result<Option<Parsed>, CacheError> {
    let refused =
        |error: &dyn std::fmt::Display| CacheError::malformed("the cache in the image", error);
    let Some(Value::String(text)) = config.extra.get(FIELD) else { return Ok(None) };
    let bytes = STANDARD.decode(text).map_err(|error| refused(&error))?;
    let records: Vec<ConfigRecord> =
        serde_json::from_slice(&bytes).map_err(|error| refused(&error))?;
    if layers.len() != config.rootfs.diff_ids.len() {
        return Err(refused(&"it has another number of layers than the manifest"));
    }
    let times = config.history.iter().filter(|entry| !entry.empty_layer);
    let mut times = times.map(|entry| entry.created.as_deref().and_then(time));
    let layers = layers.iter().zip(&config.rootfs.diff_ids).enumerate();
    let layers = layers.map(|(index, (descriptor, diff_id))| {
        let layer = descriptor.sha256().ok().map(|digest| Layer {
            blob: LayerBlob {
                digest,
                size: descriptor.size(),
                media_type: descriptor.media_type().to_string(),
            },
            diff_id: *diff_id,
            parent: None,
            created: times.next().flatten(),
        });
        (layer, index as i64 - 1)
    });
    Ok(Some(assemble(layers.collect(), records)))
}
