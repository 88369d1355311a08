//! Compressed layers into snapshots.
//!
//! What is in a layer does not depend on the layers below it: deletions are kept as whiteouts. So
//! all layers are unpacked at the same time, each into a snapshot of its own, and then put on top
//! of each other in order. Only directories that an archive does not list, but has files in, take
//! their owner and mode from below, which is made good in that second pass.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use bld_event::{EventKind, Events, Progress, VertexId};
use bld_layer::{ApplyOptions, HashBehind, View};
use bld_oci::{Digest, chain_ids};
use bld_registry::{Arriving, Tap};
use bld_store::{Active, ImageRecord, KeyLock, LayerBlob, Lease, SnapshotId, Store};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::EngineError;
use crate::error::{IoContext as _, Result};

/// The snapshot of the topmost layer of `image`, whose layers are unpacked first where they are not
/// yet. Every layer's bytes are checked against the digest the configuration names.
///
/// Progress is reported on `vertex`, one item `extracting DIGEST` for each layer.
///
/// # Errors
/// When a layer is neither a snapshot nor a blob of the store, when its bytes are damaged, or when
/// the disk is full. Nothing half-unpacked stays behind.
pub fn ensure_unpacked(
    store: &Store,
    image: &ImageRecord,
    events: &Events,
    vertex: VertexId,
) -> Result<SnapshotId> {
    let missing = match plan(store, image)? {
        Plan::Ready(snapshot) => return Ok(snapshot),
        Plan::Unpack(missing) => missing,
    };
    let mut layers = Vec::with_capacity(missing.layers.len());
    for layer in &missing.layers {
        let diff_id = layer.diff_id;
        let blob = store.any_layer_blob(&diff_id)?.filter(|blob| store.has_blob(&blob.digest));
        let blob = blob.ok_or(EngineError::MissingLayer { diff_id, image: image.id })?;
        layers.push((diff_id, blob));
    }
    let unpacked = unpack_all(store, &layers, events, vertex)?;
    stack(store, image, &missing, unpacked)
}

/// What has to be done before an image has a snapshot.
pub(super) enum Plan {
    /// Nothing.
    Ready(SnapshotId),
    /// Its topmost layers have to be unpacked.
    Unpack(Missing),
}

/// The layers of an image that are not unpacked, and the lock that makes them ours to unpack.
pub(super) struct Missing {
    /// What they lie on.
    parent: Option<SnapshotId>,
    /// Lowest first; at least one.
    pub(super) layers: Vec<MissingLayer>,
    /// Holds `parent`.
    lease: Lease,
    _flight: KeyLock,
}

/// A layer that is not unpacked.
pub(super) struct MissingLayer {
    /// Its place in the image, 0 for the lowest.
    pub(super) index: usize,
    /// Digest of its uncompressed bytes.
    pub(super) diff_id: Digest,
    chain: Digest,
}

/// Finds out what has to be unpacked. Two processes that need the same image unpack it once: the
/// second one waits here.
pub(super) fn plan(store: &Store, image: &ImageRecord) -> Result<Plan> {
    if let Some(snapshot) = image.snapshot
        && store.snapshot(snapshot)?.is_some()
    {
        return Ok(Plan::Ready(snapshot));
    }
    let chains = chain_ids(&image.layers);
    let Some(top) = chains.last() else {
        // An image without layers has an empty root.
        let snapshot = store.prepare(None)?.commit()?;
        return remember(store, image, snapshot).map(Plan::Ready);
    };
    let flight = store.lock(&format!("unpack {top}"))?;
    if let Some(snapshot) = store.snapshot_of_chain(top)? {
        return remember(store, image, snapshot).map(Plan::Ready);
    }
    let mut missing =
        Missing { parent: None, layers: Vec::new(), lease: store.lease(), _flight: flight };
    for (index, (chain, diff_id)) in chains.iter().zip(&image.layers).enumerate() {
        match store.snapshot_of_chain(chain)? {
            Some(snapshot) if missing.layers.is_empty() && missing.lease.hold(snapshot)? => {
                missing.parent = Some(snapshot);
            }
            _ => missing.layers.push(MissingLayer { index, diff_id: *diff_id, chain: *chain }),
        }
    }
    Ok(Plan::Unpack(missing))
}

/// Puts unpacked layers, in the order of `missing`, on top of each other.
pub(super) fn stack(
    store: &Store,
    image: &ImageRecord,
    missing: &Missing,
    unpacked: Vec<Unpacked>,
) -> Result<SnapshotId> {
    let mut top = missing.parent;
    for (layer, unpacked) in missing.layers.iter().zip(unpacked) {
        let (snapshot, size) = adopt(store, top, unpacked)?;
        store.set_diff_id(snapshot, &layer.diff_id, size)?;
        store.set_chain(&layer.chain, snapshot)?;
        // What a pulled layer holds is what its publisher says, times included.
        store.set_content(snapshot, &layer.chain)?;
        top = Some(snapshot);
    }
    match top {
        Some(snapshot) => remember(store, image, snapshot),
        None => Err(EngineError::NoSuchImage { name: image.id.to_string() }),
    }
}

/// Notes the snapshot, and the size that is known now, in the image's record.
pub(crate) fn remember(
    store: &Store,
    image: &ImageRecord,
    snapshot: SnapshotId,
) -> Result<SnapshotId> {
    let mut size = 0;
    for id in store.ancestry(snapshot)? {
        size += store.snapshot(id)?.and_then(|info| info.diff_size).unwrap_or(0);
    }
    store.put_image(&ImageRecord { snapshot: Some(snapshot), size, ..image.clone() })?;
    Ok(snapshot)
}

/// A layer that lies in a snapshot of its own.
pub(crate) struct Unpacked {
    pub(crate) active: Active,
    /// Bytes of the uncompressed archive.
    pub(crate) size: u64,
    /// Directories the archive did not list.
    implied: Vec<PathBuf>,
}

/// Unpacks all layers, on as many threads as there are cores.
fn unpack_all(
    store: &Store,
    layers: &[(Digest, LayerBlob)],
    events: &Events,
    vertex: VertexId,
) -> Result<Vec<Unpacked>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(layers.len());
    let queue = Mutex::new(layers.iter().enumerate());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || {
        let mut done = Vec::new();
        while let Some((index, (diff_id, blob))) = next() {
            let contents = store.open_blob(&blob.digest).map_err(EngineError::from);
            let unpacked = contents
                .and_then(|contents| unpack(store, diff_id, blob, contents, events, vertex))
                .map_err(|error| blaming(store, blob, error));
            done.push((index, unpacked));
        }
        done
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for worker in workers {
            results.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Why the blob of a layer did not unpack: if its bytes changed since they came into the store, that.
fn blaming(store: &Store, blob: &LayerBlob, error: EngineError) -> EngineError {
    let is_about_bytes =
        matches!(error, EngineError::Layer { .. } | EngineError::LayerMismatch { .. })
            && !crate::is_for_space(&error);
    match is_about_bytes.then(|| store.verify_blob(&blob.digest)) {
        Some(Err(damaged)) => damaged.into(),
        Some(Ok(())) | None => error,
    }
}

/// A layer that is to be unpacked.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) store: Store,
    /// What its uncompressed bytes have to be.
    pub(crate) diff_id: Digest,
    pub(crate) blob: LayerBlob,
    /// Who hears of it, and of what it is a part.
    pub(crate) events: Events,
    pub(crate) vertex: VertexId,
}

impl Job {
    /// Lets `fetch` bring the blob into the store, and unpacks the layer meanwhile if one of `cores` has
    /// nothing to do, else as soon as it has arrived and there is one.
    pub(crate) async fn fetched<F>(
        self,
        cores: &Semaphore,
        fetch: impl FnOnce(Tap) -> F,
    ) -> Result<Unpacked>
    where
        F: Future<Output = Result<()>>,
    {
        let (tap, arriving) = bld_registry::tap();
        let core = cores.try_acquire().ok();
        let early = core.as_ref().map(|_| self.start(Contents::Arriving(arriving)));
        fetch(tap).await?;
        if let Some(early) = early
            && let Ok(Ok(unpacked)) = early.await
        {
            return Ok(unpacked);
        }
        // It was there already, or came from a second place after the first had given up. Any other
        // reason for failing will show again.
        let _core = match core {
            Some(core) => Ok(core),
            None => cores.acquire().await,
        };
        self.run().await
    }

    /// Unpacks the layer from its blob in the store.
    pub(crate) async fn run(self) -> Result<Unpacked> {
        let contents = Contents::Blob(self.store.open_blob(&self.blob.digest)?);
        let unpacked = self.start(contents).await.map_err(|_| EngineError::Canceled)?;
        unpacked.map_err(|error| blaming(&self.store, &self.blob, error))
    }

    fn start(&self, contents: Contents) -> JoinHandle<Result<Unpacked>> {
        let Self { store, diff_id, blob, events, vertex } = self.clone();
        let work = move || unpack(&store, &diff_id, &blob, contents, &events, vertex);
        tokio::task::spawn_blocking(work)
    }
}

/// Unpacks one layer into a snapshot of its own, from the `contents` of its blob.
fn unpack(
    store: &Store,
    diff_id: &Digest,
    blob: &LayerBlob,
    contents: impl Read + Send + 'static,
    events: &Events,
    vertex: VertexId,
) -> Result<Unpacked> {
    let report = |done| {
        let item = format!("extracting {}", blob.digest);
        let progress = Progress {
            item,
            current: if done { blob.size } else { 0 },
            total: Some(blob.size),
            done,
        };
        events.emit(vertex, EventKind::Progress(progress));
    };
    report(false);
    let damaged = |source: io::Error| EngineError::Layer {
        digest: blob.digest,
        source: bld_layer::LayerError::Stream { action: "decompress", source },
    };
    store.write_out_early();
    let decoder = bld_layer::decoder(contents).map_err(damaged)?;
    let active = store.prepare(None)?;
    // Decompressing takes as long as making the files, and hashing half of that.
    let mut archive = bld_layer::read_ahead(HashBehind::new(decoder)).map_err(damaged)?;
    let applied = bld_layer::apply(&mut archive, active.upper(), &ApplyOptions::default())
        .map_err(|source| EngineError::Layer { digest: blob.digest, source })?;
    // What follows the end of the archive counts for the digest.
    io::copy(&mut archive.by_ref(), &mut io::sink()).map_err(damaged)?;
    let (found, size) = archive.finish().and_then(HashBehind::finish).map_err(damaged)?;
    if found != *diff_id {
        return Err(EngineError::LayerMismatch { blob: blob.digest, expected: *diff_id, found });
    }
    report(true);
    Ok(Unpacked { active, size, implied: applied.implied })
}

/// Puts an unpacked layer on top of `parent`; its snapshot and size.
fn adopt(store: &Store, parent: Option<SnapshotId>, layer: Unpacked) -> Result<(SnapshotId, u64)> {
    let Some(parent) = parent else { return Ok((layer.active.commit()?, layer.size)) };
    let below = store.prepare(Some(parent))?;
    inherit(&View::new(below.layers().to_vec()), &layer)?;
    let (from, to) = (layer.active.upper(), below.upper());
    fs::rename(from, to).at("move the layer to", to)?;
    Ok((below.commit()?, layer.size))
}

/// Gives directories that the archive did not list the owner and mode they have below.
pub(crate) fn inherit(below: &View, layer: &Unpacked) -> Result<()> {
    for path in &layer.implied {
        let node = below
            .lookup(path)
            .map_err(|source| EngineError::Tree { path: path.clone(), source })?;
        if let Some(node) = node.filter(|node| node.meta.kind == bld_layer::Kind::Dir) {
            let dir = layer.active.upper().join(path.strip_prefix("/").unwrap_or(path));
            chown(&dir, Some(node.meta.uid), Some(node.meta.gid)).at("set the owner of", &dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(node.meta.mode))
                .at("set the mode of", &dir)?;
        }
    }
    Ok(())
}

/// Where the bytes of a layer come from.
enum Contents {
    /// Somewhere else, now.
    Arriving(Arriving),
    /// The store.
    Blob(File),
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Arriving(arriving) => arriving.read(buffer),
            Self::Blob(file) => file.read(buffer),
        }
    }
}
