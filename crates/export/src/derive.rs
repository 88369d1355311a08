//! Layers made of layers: several as one, or the same files with earlier times.
//!
//! What is below the first new layer is never touched: it is somebody else's image, and shared.
//! What was derived is remembered for as long as it is in the store, so that a build in which
//! nothing changed derives nothing.

use std::io::{self, PipeWriter, Read};
use std::path::Path;
use std::thread;

use bld_layer::{
    ApplyOptions, Compression, Encoder, LayerError, TarOptions, View, Walk, WriteBehind, decoder,
};
use bld_oci::{Digest, HashingReader, media_type};
use bld_store::{LayerBlob, Lease, SnapshotId, SnapshotInfo, Store};

use crate::error::ExportError;
use crate::image::layers;

/// Where it is remembered what was derived.
const BUCKET: &str = "derived-layers";

/// What becomes of the layers that lie on a base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Derivation {
    /// They become one.
    pub squash: bool,
    /// No file in them is newer than this, in seconds since 1970.
    pub clamp: Option<i64>,
    /// They are made readable in parts, which adds files to them: the level of eStargz.
    pub estargz: Option<u32>,
}

impl Derivation {
    fn key(self, top: SnapshotId, base: usize) -> String {
        let clamp = self.clamp.map_or_else(String::new, |clamp| format!(" clamp={clamp}"));
        let estargz =
            self.estargz.map(|level| format!(" {}", Compression::Estargz { level }.key()));
        let estargz = estargz.unwrap_or_default();
        format!("{top} base={base} squash={}{clamp}{estargz}", self.squash)
    }
}

/// The snapshot that `derivation` makes of `top`, of whose layers the lowest `base` stay what they
/// are. `held` keeps it.
///
/// # Errors
/// When layers cannot be read, or written.
pub fn derive(
    store: &Store,
    top: SnapshotId,
    base: usize,
    derivation: Derivation,
    held: &Lease,
) -> Result<SnapshotId, ExportError> {
    if derivation == Derivation::default() {
        return Ok(top);
    }
    let key = derivation.key(top, base);
    // Two processes that need the same do it once.
    let _flight = store.lock(&format!("derive {key}"))?;
    if let Some(known) = store.get(BUCKET, &key)?.and_then(|bytes| parse(&bytes)) {
        if store.snapshot(known)?.is_some() && held.hold(known)? {
            return Ok(known);
        }
        store.delete(BUCKET, &key)?;
    }
    let all = layers(store, Some(top))?;
    let (below, new) = all.split_at(base.min(all.len()));
    let parent = below.last().map(|layer| layer.id);
    let mut derived = top;
    if derivation.squash && new.len() > 1 {
        derived = squash(store, parent, new)?;
    }
    if let Some(epoch) = derivation.clamp {
        derived = clamp_all(store, derived, base, epoch)?;
    }
    if let Some(level) = derivation.estargz {
        derived = estargz_all(store, derived, base, level)?;
    }
    held.hold(derived)?;
    store.put(BUCKET, &key, derived.to_string().as_bytes())?;
    Ok(derived)
}

fn parse(bytes: &[u8]) -> Option<SnapshotId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// One layer that does what all of `new` do on `parent`.
fn squash(
    store: &Store,
    parent: Option<SnapshotId>,
    new: &[SnapshotInfo],
) -> Result<SnapshotId, ExportError> {
    let active = store.prepare(parent)?;
    let dirs: Vec<_> = new.iter().map(|layer| store.layer(layer.id)).collect();
    bld_layer::merge_onto(&dirs, &View::new(active.layers().to_vec()), active.upper())?;
    Ok(active.commit()?)
}

/// The same layers without a file newer than `epoch`, but for the lowest `base`.
fn clamp_all(
    store: &Store,
    top: SnapshotId,
    base: usize,
    epoch: i64,
) -> Result<SnapshotId, ExportError> {
    let (mut parent, mut is_same) = (None, true);
    for (index, layer) in layers(store, Some(top))?.into_iter().enumerate() {
        let dir = store.layer(layer.id);
        let is_kept = index < base || !is_newer(&dir, epoch)?;
        parent = Some(if is_kept && is_same {
            layer.id
        } else if is_kept {
            let active = store.prepare(parent)?;
            bld_layer::merge(&[dir], active.upper())?;
            active.commit()?
        } else {
            is_same = false;
            let clamped = TarOptions { clamp_mtime: Some(epoch), ..TarOptions::default() };
            copy_layer(store, parent, &dir, &clamped)?
        });
    }
    Ok(parent.unwrap_or(top))
}

/// The same layers in eStargz, but for the lowest `base`. Their blobs are written with them: what is in their
/// tables follows from the compressed bytes.
fn estargz_all(
    store: &Store,
    top: SnapshotId,
    base: usize,
    level: u32,
) -> Result<SnapshotId, ExportError> {
    let compression = Compression::Estargz { level };
    let (mut parent, held) = (None, store.lease());
    for (index, layer) in layers(store, Some(top))?.into_iter().enumerate() {
        if index < base {
            parent = Some(layer.id);
            continue;
        }
        let out = WriteBehind::new(store.blob_writer()?);
        let mut encoder = Encoder::new(out, &compression)?;
        bld_layer::write_layer(&store.layer(layer.id), &mut encoder, &TarOptions::default())?;
        let (digest, size) = encoder.finish()?.finish()?.commit(None)?;
        held.hold_blob(&digest)?;
        let path = store.blob_path(&digest);
        let tar = decoder(store.open_blob(&digest)?).map_err(ExportError::io("read", &path))?;
        let active = store.prepare(parent)?;
        let lower = View::new(active.layers().to_vec());
        let (diff_id, diff_size) = unpack(tar, active.upper(), lower)?;
        let snapshot = active.commit()?;
        store.set_diff_id(snapshot, &diff_id, diff_size)?;
        let media_type = media_type::OCI_LAYER_GZIP.to_owned();
        store.set_layer_blob(
            &diff_id,
            &compression.key(),
            &LayerBlob { digest, size, media_type },
        )?;
        parent = Some(snapshot);
    }
    Ok(parent.unwrap_or(top))
}

/// Whether anything in the layer `dir` is newer than `epoch`. Whiteouts have no time.
fn is_newer(dir: &Path, epoch: i64) -> Result<bool, ExportError> {
    let mut found = false;
    View::plain(dir).walk("/", &mut |node| {
        found |= !node.meta.is_whiteout() && node.meta.mtime > epoch;
        Ok(if found { Walk::Stop } else { Walk::Into })
    })?;
    Ok(found)
}

/// A snapshot on `parent` with what is in the layer `dir` now, packed and unpacked as `options` say.
/// Nothing is shared with `dir`, which somebody may go on to write to.
///
/// # Errors
/// When the layer cannot be read, or written.
pub fn copy_layer(
    store: &Store,
    parent: Option<SnapshotId>,
    dir: &Path,
    options: &TarOptions,
) -> Result<SnapshotId, ExportError> {
    let active = store.prepare(parent)?;
    let (reader, writer) = io::pipe().map_err(ExportError::io("create", Path::new("a pipe")))?;
    let lower = View::new(active.layers().to_vec());
    let (written, unpacked) = thread::scope(|scope| {
        let write = scope.spawn(move || pack(dir, writer, options));
        let unpacked = unpack(reader, active.upper(), lower);
        let written = write.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (written, unpacked)
    });
    // The writer's reason is the better one: the reader only sees the archive end too early.
    written?;
    let (diff_id, size) = unpacked?;
    let snapshot = active.commit()?;
    store.set_diff_id(snapshot, &diff_id, size)?;
    Ok(snapshot)
}

fn pack(dir: &Path, mut out: PipeWriter, options: &TarOptions) -> Result<(), LayerError> {
    bld_layer::write_layer(dir, &mut out, options).map(drop)
}

fn unpack(archive: impl Read, target: &Path, lower: View) -> Result<(Digest, u64), LayerError> {
    let mut archive = HashingReader::new(archive);
    let options = ApplyOptions { lower: Some(lower), ..ApplyOptions::default() };
    bld_layer::apply(&mut archive, target, &options)?;
    io::copy(&mut archive, &mut io::sink())
        .map_err(|source| LayerError::Stream { action: "read the layer", source })?;
    let (_, digest, size) = archive.finish();
    Ok((digest, size))
}
