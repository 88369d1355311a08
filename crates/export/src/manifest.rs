//! From an image in the store to a manifest and the blobs it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_event::Cancel;
use bld_layer::Compression;
use bld_oci::media_type::LayerCompression;
use bld_oci::{Descriptor, DescriptorExt as _, Digest, document, media_type};
use bld_store::{ImageRecord, LayerBlob, Lease, SnapshotId, Store, StoreError};
use serde::Serialize;

use crate::error::ExportError;
use crate::pack::Packed;

/// How a manifest is written.
#[derive(Debug, Clone, Default)]
pub struct ManifestOptions {
    /// Compression of layers that have no blob yet.
    pub compression: Compression,
    /// Write every layer in `compression`, also those that have a blob in another one.
    pub force_compression: bool,
    /// Docker's schema 2 media types instead of those of OCI. As Docker has none for zstd, an image
    /// with such a layer gets those of OCI all the same.
    pub docker_types: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The layers from this one on, counted from 0, are said to have had their times rewritten to
    /// this, in seconds since 1970.
    pub rewritten: Option<(usize, i64)>,
    /// Ends it early.
    pub cancel: Cancel,
}

/// A manifest in the store, with all it names.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The config blob.
    pub config: Blob,
    /// The layer blobs, lowest first.
    pub layers: Vec<Blob>,
    /// Keeps all of it in the store.
    _held: Arc<Lease>,
}

/// A file that is to be a layer as it is.
#[derive(Debug, Clone)]
pub struct Document {
    /// Media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of documents, with this configuration; all of it is put into the store.
    pub fn of_documents(
        store: &Store,
        config: &[u8],
        documents: Vec<Document>,
    ) -> Result<Self, ExportError> {
        let held = store.lease();
        let put = |bytes: &[u8], media_type: String, annotations| -> Result<Blob, ExportError> {
            let digest = store.put_blob(bytes)?;
            held.hold_blob(&digest)?;
            Ok(Blob { media_type, digest, size: bytes.len() as u64, annotations })
        };
        let config = put(config, media_type::OCI_CONFIG.to_owned(), BTreeMap::new())?;
        let layers: Vec<Blob> = documents
            .into_iter()
            .map(|document| put(&document.bytes, document.media_type, document.annotations))
            .collect::<Result<_, _>>()?;
        Self::write(store, media_type::OCI_MANIFEST, (config, layers), &BTreeMap::new(), held)
    }

    /// A manifest as somebody else has written it, with the blobs it names, its configuration first; all of
    /// it is put into the store.
    ///
    /// # Errors
    /// [`ExportError::Malformed`] when they are not those that it names, and what the store says.
    pub fn as_it_came(
        store: &Store,
        media_type: &str,
        bytes: &[u8],
        blobs: &[&[u8]],
    ) -> Result<Self, ExportError> {
        let malformed = |problem: &dyn std::fmt::Display| {
            ExportError::malformed("a manifest that came", problem)
        };
        let document = document::parse_manifest(bytes).map_err(|error| malformed(&error))?;
        let held = store.lease();
        for bytes in blobs.iter().chain([&bytes]) {
            held.hold_blob(&store.put_blob(bytes)?)?;
        }
        let named = [document.config()].into_iter().chain(document.layers()).map(blob);
        let named: Option<Vec<Blob>> = named.collect();
        let named = named.ok_or_else(|| malformed(&"it has a digest of an unknown kind"))?;
        if !named.iter().map(|blob| blob.digest).eq(blobs.iter().map(|bytes| Digest::of(bytes))) {
            return Err(malformed(&"it names other blobs"));
        }
        let (config, layers) = (named[0].clone(), named[1..].to_vec());
        let (digest, media_type) = (Digest::of(bytes), media_type.to_owned());
        Ok(Self {
            digest,
            bytes: bytes.to_vec(),
            media_type,
            config,
            layers,
            _held: Arc::new(held),
        })
    }

    /// Puts the manifest of blobs that `held` keeps into the store.
    fn write(
        store: &Store,
        media_type: &str,
        (config, layers): (Blob, Vec<Blob>),
        annotations: &BTreeMap<String, String>,
        held: Lease,
    ) -> Result<Self, ExportError> {
        let document = Written {
            schema_version: 2,
            media_type,
            config: &config,
            layers: &layers,
            annotations,
        };
        let bytes = serde_json::to_vec(&document)
            .map_err(|error| ExportError::malformed("the manifest", error))?;
        let digest = store.put_blob(&bytes)?;
        let media_type = media_type.to_owned();
        Ok(Self { digest, bytes, media_type, config, layers, _held: Arc::new(held) })
    }

    /// The blobs it consists of, itself last.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> {
        let named = [&self.config].into_iter().chain(&self.layers).map(|blob| blob.digest);
        named.chain([self.digest])
    }
}

/// What a manifest says of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// Media type.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The annotation by which BuildKit tells that the times in a layer were rewritten.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: &'a Blob,
    layers: &'a [Blob],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// The manifest of `image`; layers that have no fitting blob are written first. `progress` hears
/// of every layer as it is finished: its number and how many there are.
pub fn manifest(
    store: &Store,
    image: &ImageRecord,
    options: &ManifestOptions,
    progress: &dyn Fn(usize, usize),
) -> Result<Manifest, ExportError> {
    let held = store.lease();
    held.hold_blob(&image.id)?;
    let config_size = store.read_blob(&image.id)?.len() as u64;
    let mut snapshots = None;
    let mut blobs = Vec::with_capacity(image.layers.len());
    for (index, diff_id) in image.layers.iter().enumerate() {
        if options.cancel.is_canceled() {
            return Err(ExportError::Canceled);
        }
        let blob = match known(store, &held, diff_id, options)? {
            Some(blob) => blob,
            None => match packed_again(store, &held, diff_id, options)? {
                Some(blob) => blob,
                None => {
                    let dir = layer_dir(store, image, index, &mut snapshots)?;
                    write_blob(store, diff_id, &dir, options)?
                }
            },
        };
        blobs.push(blob);
        progress(index + 1, image.layers.len());
    }
    let is_zstd = |blob: &LayerBlob| {
        media_type::layer_compression(&blob.media_type) == Some(LayerCompression::Zstd)
    };
    let docker = options.docker_types && !blobs.iter().any(is_zstd) && !has_table(options);
    let (media_type, config_type) = if docker {
        (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG)
    } else {
        (media_type::OCI_MANIFEST, media_type::OCI_CONFIG)
    };
    let config = Blob {
        media_type: config_type.to_owned(),
        digest: image.id,
        size: config_size,
        annotations: BTreeMap::new(),
    };
    let mut layers = Vec::with_capacity(blobs.len());
    for (index, (blob, diff_id)) in blobs.into_iter().zip(&image.layers).enumerate() {
        let mut annotations = table_of(store, diff_id, &blob, options)?;
        let rewritten = options.rewritten.filter(|(first, _)| index >= *first);
        annotations.extend(rewritten.map(|(_, epoch)| (REWRITTEN.to_owned(), epoch.to_string())));
        let LayerBlob { digest, size, media_type } = blob;
        let media_type = translate(&media_type, docker).to_owned();
        layers.push(Blob { media_type, digest, size, annotations });
    }
    Manifest::write(store, media_type, (config, layers), &options.annotations, held)
}

/// Whether layers are written that have tables, which annotations lead to.
fn has_table(options: &ManifestOptions) -> bool {
    matches!(options.compression, Compression::ZstdChunked { .. } | Compression::Estargz { .. })
}

/// What is said of a layer in zstd:chunked or eStargz that was written here, so that its table is found.
fn table_of(
    store: &Store,
    diff_id: &Digest,
    blob: &LayerBlob,
    options: &ManifestOptions,
) -> Result<BTreeMap<String, String>, ExportError> {
    if !has_table(options) {
        return Ok(BTreeMap::new());
    }
    let written = store.layer_blob(diff_id, &options.compression.key())?;
    if written.is_none_or(|written| written.digest != blob.digest) {
        return Ok(BTreeMap::new());
    }
    let path = store.blob_path(&blob.digest);
    let mut file = store.open_blob(&blob.digest)?;
    bld_layer::positions(&mut file).map_err(ExportError::io("read", &path))
}

/// The manifest that `image` came with or was given, if it is in the store with all it names.
///
/// # Errors
/// When the store fails, or the manifest cannot be read.
pub fn stored_manifest(
    store: &Store,
    image: &ImageRecord,
) -> Result<Option<Manifest>, ExportError> {
    let held = store.lease();
    let Some(digest) = image.manifest else { return Ok(None) };
    if !held.hold_blob(&digest)? || !held.hold_blob(&image.id)? {
        return Ok(None);
    }
    let bytes = store.read_blob(&digest)?;
    let Ok(document) = document::parse_manifest(&bytes) else { return Ok(None) };
    let stated = document.media_type().as_ref().map(ToString::to_string);
    let media_type = stated.unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
    let Some(config) = blob(document.config()) else { return Ok(None) };
    let layers: Option<Vec<Blob>> = document.layers().iter().map(blob).collect();
    let Some(layers) = layers.filter(|_| config.digest == image.id) else { return Ok(None) };
    for layer in &layers {
        if !held.hold_blob(&layer.digest)? {
            return Ok(None);
        }
    }
    Ok(Some(Manifest { digest, bytes, media_type, config, layers, _held: Arc::new(held) }))
}

fn blob(descriptor: &Descriptor) -> Option<Blob> {
    Some(Blob {
        media_type: descriptor.media_type().to_string(),
        digest: descriptor.sha256().ok()?,
        size: descriptor.size(),
        annotations: BTreeMap::new(),
    })
}

/// A blob of the layer that fits: one that is here and held from now on, or one that is elsewhere.
pub(crate) fn known(
    store: &Store,
    held: &Lease,
    diff_id: &Digest,
    options: &ManifestOptions,
) -> Result<Option<LayerBlob>, ExportError> {
    if let Some(blob) = store.layer_blob(diff_id, &options.compression.key())?
        && held.hold_blob(&blob.digest)?
    {
        return Ok(Some(blob));
    }
    // Layers in eStargz are other layers, which have their blobs when they are made.
    let force = options.force_compression && options.compression.faithful() == options.compression;
    if !force
        && let Some(blob) = store.any_layer_blob(diff_id)?
        && held.hold_blob(&blob.digest)?
    {
        return Ok(Some(blob));
    }
    if options.force_compression {
        return Ok(None);
    }
    Ok(store.layer_sources(diff_id)?.into_iter().next().map(|source| source.blob))
}

/// A blob of the layer in another compression than it is there in: what was packed elsewhere is not
/// made anew from its files.
fn packed_again(
    store: &Store,
    held: &Lease,
    diff_id: &Digest,
    options: &ManifestOptions,
) -> Result<Option<LayerBlob>, ExportError> {
    let Some(other) = store.any_layer_blob(diff_id)? else { return Ok(None) };
    if !held.hold_blob(&other.digest)? {
        return Ok(None);
    }
    let packed = Packed::again(store, &other.digest, options.compression, &options.cancel)
        .and_then(|packed| {
            let other = ExportError::OtherLayer { diff_id: *diff_id, blob: other.digest };
            if packed.diff_id == *diff_id { Ok(packed.blob) } else { Err(other) }
        })
        .or_else(|error| {
            // If it is damaged, that is why.
            store.verify_blob(&other.digest)?;
            Err(error)
        })?;
    store.set_layer_blob(diff_id, &options.compression.faithful().key(), &packed)?;
    Ok(Some(packed))
}

/// Directory of the layer number `index`; `snapshots` keeps those of all layers for the next call.
fn layer_dir(
    store: &Store,
    image: &ImageRecord,
    index: usize,
    snapshots: &mut Option<Vec<SnapshotId>>,
) -> Result<PathBuf, ExportError> {
    let snapshots = match snapshots {
        Some(snapshots) => snapshots,
        None => snapshots.insert(match image.snapshot {
            Some(snapshot) => store.ancestry(snapshot)?,
            None => Vec::new(),
        }),
    };
    let id = snapshots.get(index).copied();
    if let Some(id) = id
        && store.absent_layers(id)?.iter().any(|absent| absent.id == id)
    {
        return Err(StoreError::Elsewhere { id }.into());
    }
    id.map(|id| store.layer(id))
        .ok_or_else(|| ExportError::MissingLayer { diff_id: image.layers[index], image: image.id })
}

/// Packs the files in `dir`, which are those of the layer `diff_id`.
pub(crate) fn write_blob(
    store: &Store,
    diff_id: &Digest,
    dir: &Path,
    options: &ManifestOptions,
) -> Result<LayerBlob, ExportError> {
    let packed = Packed::write(store, dir, options.compression, &options.cancel)?;
    if packed.diff_id != *diff_id {
        // Under this name, it would be served to whoever asks for the layer.
        return Err(ExportError::ChangedLayer { diff_id: *diff_id, path: dir.to_owned() });
    }
    store.set_layer_blob(diff_id, &options.compression.faithful().key(), &packed.blob)?;
    Ok(packed.blob)
}

/// The same kind of layer in the other family of media types.
fn translate(layer: &str, docker: bool) -> &str {
    match (layer, docker) {
        (media_type::OCI_LAYER, true) => media_type::DOCKER_LAYER,
        (media_type::OCI_LAYER_GZIP, true) => media_type::DOCKER_LAYER_GZIP,
        (media_type::DOCKER_LAYER, false) => media_type::OCI_LAYER,
        (media_type::DOCKER_LAYER_GZIP, false) => media_type::OCI_LAYER_GZIP,
        (media_type::DOCKER_LAYER_ZSTD, false) => media_type::OCI_LAYER_ZSTD,
        (other, _) => other,
    }
}
