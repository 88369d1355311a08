//! From the files of a layer to its blob, in one walk.
//!
//! The files are read once. What they make is hashed for the diff id, compressed, hashed for the
//! blob and written, all at the same time on threads of their own, with a few megabytes on the way
//! between them. The blob stays in the store for as long as something has the layer: to compress
//! again whenever it is needed would cost a second for every 200 MB, and a push to one more
//! registry would have to do it before it knows what to ask for.

use std::io::{self, Write};
use std::path::Path;

use bld_event::Cancel;
use bld_layer::{Compression, Encoder, TarOptions, WriteBehind, decoder, write_layer};
use bld_oci::{Digest, HashingWriter, media_type};
use bld_store::{LayerBlob, Lease, SnapshotId, SnapshotInfo, Store, StoreError};

use crate::cancel::Cancelable;
use crate::error::ExportError;
use crate::image::layers;
use crate::manifest::{ManifestOptions, known, write_blob};

/// Writes the blobs of all layers of `snapshot` that have no diff id yet, and thereby finds it. To
/// be called before [`describe`](crate::describe) when the image will ship: to find the diff ids
/// first and the blobs later would read the files twice. `progress` is as that of
/// [`manifest`](crate::manifest()).
///
/// # Errors
/// [`ExportError::Canceled`], and what reading the layer or writing the blob met.
pub fn pack_new_layers(
    store: &Store,
    snapshot: Option<SnapshotId>,
    options: &ManifestOptions,
    progress: &dyn Fn(usize, usize),
) -> Result<(), ExportError> {
    let layers = layers(store, snapshot)?;
    for (index, layer) in layers.iter().enumerate() {
        if options.cancel.is_canceled() {
            return Err(ExportError::Canceled);
        }
        if layer.diff_id.is_none() {
            pack(store, layer, options)?;
            progress(index + 1, layers.len());
        }
    }
    Ok(())
}

fn pack(
    store: &Store,
    layer: &SnapshotInfo,
    options: &ManifestOptions,
) -> Result<Packed, ExportError> {
    let dir = store.layer(layer.id);
    let packed = Packed::write(store, &dir, options.compression, &options.cancel)?;
    store.set_diff_id(layer.id, &packed.diff_id, packed.diff_size)?;
    let key = options.compression.faithful().key();
    store.set_layer_blob(&packed.diff_id, &key, &packed.blob)?;
    Ok(packed)
}

/// The blob of one layer and its diff id. It is packed if there is none; one that is
/// [elsewhere](Store::layer_sources) is as good. What is here is held by `held`.
///
/// # Errors
/// As [`pack_new_layers`]; [`StoreError::Elsewhere`](bld_store::StoreError::Elsewhere) where the files
/// are needed and not here.
pub fn layer_blob(
    store: &Store,
    held: &Lease,
    layer: &SnapshotInfo,
    options: &ManifestOptions,
) -> Result<(Digest, LayerBlob), ExportError> {
    let Some(diff_id) = layer.diff_id else {
        let packed = pack(store, layer, options)?;
        held.hold_blob(&packed.blob.digest)?;
        return Ok((packed.diff_id, packed.blob));
    };
    if let Some(blob) = known(store, held, &diff_id, options)? {
        return Ok((diff_id, blob));
    }
    if store.absent_layers(layer.id)?.iter().any(|absent| absent.id == layer.id) {
        return Err(StoreError::Elsewhere { id: layer.id }.into());
    }
    let blob = write_blob(store, &diff_id, &store.layer(layer.id), options)?;
    held.hold_blob(&blob.digest)?;
    Ok((diff_id, blob))
}

/// A layer that was packed.
pub(crate) struct Packed {
    /// The digest of its canonical tar.
    pub(crate) diff_id: Digest,
    /// The size of that in bytes.
    diff_size: u64,
    /// The tar, compressed, as a blob of the store. Nothing names it yet.
    pub(crate) blob: LayerBlob,
}

impl Packed {
    /// Packs the upper directory `dir`.
    pub(crate) fn write(
        store: &Store,
        dir: &Path,
        compression: Compression,
        cancel: &Cancel,
    ) -> Result<Self, ExportError> {
        Self::new(store, compression, cancel, |tar| {
            write_layer(dir, tar, &TarOptions::default())?;
            Ok(())
        })
    }

    /// Packs what is in the layer blob `digest` once more.
    pub(crate) fn again(
        store: &Store,
        digest: &Digest,
        compression: Compression,
        cancel: &Cancel,
    ) -> Result<Self, ExportError> {
        let path = store.blob_path(digest);
        let mut blob = decoder(store.open_blob(digest)?).map_err(ExportError::io("read", &path))?;
        Self::new(store, compression, cancel, |tar| {
            io::copy(&mut blob, tar).map(drop).map_err(ExportError::io("unpack", &path))
        })
    }

    /// Packs the tar that `write` writes.
    fn new(
        store: &Store,
        compression: Compression,
        cancel: &Cancel,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
    ) -> Result<Self, ExportError> {
        let compression = compression.faithful();
        let blob = WriteBehind::new(store.blob_writer()?);
        let encoder = Encoder::new(blob, &compression)?;
        let mut tar = WriteBehind::new(HashingWriter::new(encoder));
        write(&mut Cancelable::new(&mut tar, cancel))?;
        let (encoder, diff_id, diff_size) = tar.finish()?.finish();
        let (digest, size) = encoder.finish()?.finish()?.commit(None)?;
        let media_type = oci_layer_type(compression).to_owned();
        Ok(Self { diff_id, diff_size, blob: LayerBlob { digest, size, media_type } })
    }
}

fn oci_layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip { .. } | Compression::Estargz { .. } => media_type::OCI_LAYER_GZIP,
        Compression::Zstd { .. } | Compression::ZstdChunked { .. } => media_type::OCI_LAYER_ZSTD,
    }
}
