//! What the tests share: images to move, a store to move them into, and a server in between that
//! can be made to fail.
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bld_event::{Event, EventKind, Events};
use bld_oci::{
    Descriptor, Digest, ImageConfig, MemoryImage, Platform, Reference, descriptor, media_type,
};
use bld_registry::{Client, Config, Manifest, PulledImage, Pushed, RegistryError, Reporter, Retry};
use bld_store::Store;
use tempfile::TempDir;

/// A store in a directory of its own.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    directory: TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { store: Store::open(directory.path()).unwrap(), directory }
    }

    /// Blobs in the store, and files that are neither blob nor the store's own.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in walk(&self.directory.path().join("blobs")) {
            names.push(entry.rsplit('/').next().unwrap_or_default().to_owned());
        }
        names.sort();
        names
    }

    /// Files that a transfer has left behind unfinished.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let all = walk(&self.directory.path().join("tmp"));
        all.into_iter().filter(|path| path.contains("/blob")).collect()
    }
}

fn walk(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            paths.extend(walk(&entry.path()));
        } else {
            paths.push(entry.path().display().to_string());
        }
    }
    paths
}

/// Bytes that do not compress and are the same for the same `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image with layers of these sizes. What is in them does not matter to a registry.
pub(crate) fn image(seed: u64, sizes: &[usize]) -> MemoryImage {
    let config = ImageConfig::for_platform(&Platform::parse("linux/amd64").unwrap());
    let layers = (seed..).zip(sizes).map(|(seed, &size)| noise(seed, size)).collect();
    MemoryImage::new(config, layers).unwrap()
}

/// Puts everything of `image` into `store`; the manifest is what a push takes.
pub(crate) fn put(store: &TestStore, image: &MemoryImage) -> Manifest {
    for blob in image.blobs.values().chain([&image.config, &image.manifest]) {
        store.store.put_blob(blob).unwrap();
    }
    Manifest::new(media_type::OCI_MANIFEST, image.manifest.clone()).unwrap()
}

/// The descriptor of a layer.
pub(crate) fn layer(bytes: &[u8]) -> Descriptor {
    descriptor(media_type::OCI_LAYER, Digest::of(bytes), bytes.len() as u64)
}

/// Settings that do not wait as long as real ones.
pub(crate) fn quick() -> Config {
    Config {
        retry: Retry {
            attempts: 4,
            pause: Duration::from_millis(10),
            longest: Duration::from_secs(2),
        },
        idle_timeout: Duration::from_secs(20),
        ..Config::default()
    }
}

pub(crate) fn client(config: Config) -> Client {
    Client::new(config).unwrap()
}

pub(crate) fn reference(host: &str, rest: &str) -> Reference {
    Reference::parse(&format!("{host}/{rest}")).unwrap()
}

pub(crate) fn amd64() -> Platform {
    Platform::parse("linux/amd64").unwrap()
}

/// Pushes to `name` what `store` has of `manifest`.
pub(crate) async fn push(
    client: &Client,
    store: &TestStore,
    name: &Reference,
    manifest: &Manifest,
) -> Result<Pushed, RegistryError> {
    client.push_image(&store.store, name, manifest, &[], &Events::none()).await
}

/// Pulls `name` for amd64 into `store`.
pub(crate) async fn pull(
    client: &Client,
    store: &TestStore,
    name: &Reference,
) -> Result<PulledImage, RegistryError> {
    client.pull_image(&store.store, name, &amd64(), &Events::none()).await
}

/// Receives one blob of `name` into `store`.
pub(crate) async fn fetch(
    client: &Client,
    store: &TestStore,
    name: &Reference,
    descriptor: &Descriptor,
) -> Result<Digest, RegistryError> {
    let (lease, reporter) = (store.store.lease(), Reporter::none());
    client.fetch_blob(&store.store, &lease, name, descriptor, &reporter).await
}

/// The error and its causes, as a user is shown them.
pub(crate) fn chain(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Events, recorded.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub(crate) fn events(&self) -> Events {
        let seen = Arc::clone(&self.0);
        Events::new(move |event| seen.lock().unwrap().push(event))
    }

    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().iter().map(|event| event.kind.clone()).collect()
    }

    /// The last word on every item: bytes, and whether it is finished.
    pub(crate) fn items(&self) -> BTreeMap<String, (u64, bool)> {
        let kinds = self.kinds().into_iter();
        let progress = kinds.filter_map(|kind| match kind {
            EventKind::Progress(progress) => Some(progress),
            _ => None,
        });
        progress.map(|progress| (progress.item, (progress.current, progress.done))).collect()
    }
}
