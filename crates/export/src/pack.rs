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
use bld_store::{LayerBlob, SnapshotId, Store};

use crate::cancel::Cancelable;
use crate::error::ExportError;
use crate::image::layers;
use crate::manifest::ManifestOptions;

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
            let packed =
                Packed::write(store, &store.layer(layer.id), options.compression, &options.cancel)?;
            store.set_diff_id(layer.id, &packed.diff_id, packed.diff_size)?;
            store.set_layer_blob(&packed.diff_id, &options.compression.key(), &packed.blob)?;
            progress(index + 1, layers.len());
        }
    }
    Ok(())
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
        Compression::Gzip { .. } => media_type::OCI_LAYER_GZIP,
        Compression::Zstd { .. } => media_type::OCI_LAYER_ZSTD,
    }
}
