//! Fetching images from registries.
//!
//! A layer is unpacked while it arrives, as long as there are cores that have nothing to do, else
//! as soon as it has arrived.

use std::thread;

use bld_cache::Place;
use bld_event::{Events, Task};
use bld_oci::{Digest, Platform, Reference};
use bld_registry::{Client, Manifest, PulledImage, Reporter, Tap};
use bld_store::{ImageRecord, LayerBlob, LayerElsewhere, SnapshotId, Store};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::unpack::{Job, MissingLayer, Plan, plan, stack};
use super::{find, record};
use crate::error::in_one_line;
use crate::{Engine, EngineError, Result};

/// What is pulled of an image, and of what is said about it.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform; the machine's own when absent.
    pub platform: Option<Platform>,
    /// Also keep attestations that refer to the image at the registry. Those that are in an index with it are
    /// kept in any case.
    pub referrers: bool,
}

/// An image that was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: ImageRecord,
    /// The reference it was pulled by.
    pub reference: Reference,
    /// What the reference names at the registry: an index or a manifest.
    pub digest: Digest,
    /// The store did not have it under this name before.
    pub is_new: bool,
    /// Why what is said about it was not kept with it, if so.
    pub warning: Option<String>,
}

impl Engine {
    /// Fetches the image `reference` for `platform` (the machine's own when absent), unpacks it and
    /// gives it its name.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<ImageRecord> {
        Ok(self.pull_reference(reference, platform, events)?.0.image)
    }

    /// As [`pull`](Self::pull), for a name as typed, with what there is to say about it. Its attestations
    /// are kept with it; that they cannot be had fails nothing.
    pub fn pull_image(&self, name: &str, options: &PullOptions, events: &Events) -> Result<Pulled> {
        let own = find::parse(name)?;
        let meant = self.meant(name)?;
        let [others @ .., last] = meant.as_slice() else {
            return self.pull_whole(&own, options, events);
        };
        let mut refused = Vec::new();
        for reference in others {
            match self.pull_whole(reference, options, events) {
                Err(EngineError::Canceled) => return Err(EngineError::Canceled),
                Err(error) => refused.push(format!("{reference}: {}", in_one_line(&error))),
                pulled => return pulled,
            }
        }
        self.pull_whole(last, options, events).map_err(|error| match refused.as_slice() {
            [] => error,
            _ => {
                refused.push(format!("{last}: {}", in_one_line(&error)));
                EngineError::Nowhere { name: name.to_owned(), refused }
            }
        })
    }

    /// The names of all images that the registry has in the repository `name`.
    pub fn tagged_images(&self, name: &str) -> Result<Vec<String>> {
        let repository = find::parse(name)?;
        let tags = self.block_on(self.client()?.tags(&repository))??;
        Ok(tags.iter().map(|tag| format!("{}:{tag}", repository.name())).collect())
    }

    /// An image, and what is said about it.
    fn pull_whole(
        &self,
        reference: &Reference,
        options: &PullOptions,
        events: &Events,
    ) -> Result<Pulled> {
        let (mut pulled, index) =
            self.pull_reference(reference, options.platform.as_ref(), events)?;
        if index.is_none() && !options.referrers {
            return Ok(pulled);
        }
        let (index, referrers) = (index.as_ref(), options.referrers);
        if let Err(error) = self.keep_from_registry(reference, &pulled.image, index, referrers) {
            let (name, why) = (reference.familiar(), in_one_line(&error));
            pulled.warning = Some(format!("attestations of {name} were not kept: {why}"));
        }
        Ok(pulled)
    }

    /// Finds the image `reference` for `platform` and gives it its name, as [`pull`](Self::pull) does,
    /// but leaves its layers where they are until somebody needs them.
    pub(crate) fn find_remote(
        &self,
        reference: &Reference,
        platform: &Platform,
        events: &Events,
    ) -> Result<ImageRecord> {
        let (store, client) = (self.store()?, self.client()?);
        let remote =
            self.block_on(client.find_image(store, reference, platform, &Reporter::none()))??;
        check_platform(&remote, reference, platform)?;
        if remote.layers.is_empty() {
            return self.pull(reference, Some(platform), events);
        }
        let blobs = layer_blobs(&remote)?;
        let image = record::describe(store, &remote.id, Some(remote.manifest.digest), &blobs)?;
        let image = self.leave_there(reference, &image, &blobs)?;
        if reference.digest().is_none() {
            store.tag(&reference.to_string(), &image.id, Some(remote.digest))?;
        } else {
            store.add_repo_digest(&reference.name(), &remote.digest, &image.id)?;
        }
        Ok(image)
    }

    /// Notes where the layers of an image are, and enters it.
    fn leave_there(
        &self,
        reference: &Reference,
        image: &ImageRecord,
        blobs: &[LayerBlob],
    ) -> Result<ImageRecord> {
        let store = self.store()?;
        let place = Place::Registry { repository: reference.name() }.to_text();
        let chains = bld_oci::chain_ids(&image.layers);
        let layers = image.layers.iter().zip(chains).zip(blobs).map(|((diff_id, chain), blob)| {
            LayerElsewhere {
                diff_id: *diff_id,
                blob: blob.clone(),
                place: place.clone(),
                // What a pulled layer holds is what its publisher says, times included.
                content: Some(chain),
                created: None,
            }
        });
        let snapshot = store.put_elsewhere(&layers.collect::<Vec<_>>())?;
        let image = ImageRecord { snapshot: Some(snapshot), ..image.clone() };
        store.put_image(&image)?;
        Ok(image)
    }

    fn pull_reference(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<(Pulled, Option<Manifest>)> {
        let (store, client) = (self.store()?, self.client()?);
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        let known = match reference.digest() {
            Some(digest) => store.find_repo_digest(&reference.name(), &digest)?,
            None => store.resolve(&reference.to_string())?,
        };
        let (image, digest, index) = self.mending(events, || {
            let task = events.task(format!("pull {}", reference.familiar()));
            let fetched = self.block_on(fetch(store, client, reference, &platform, &task));
            let brought = fetched.and_then(|fetched| fetched).and_then(|(image, remote)| {
                self.bringer(events)?.bring_image(&image, task.id())?;
                Ok((store.image(&image.id)?.unwrap_or(image), remote.digest, remote.index))
            });
            task.finish(brought)
        })?;
        if reference.digest().is_none() {
            store.tag(&reference.to_string(), &image.id, Some(digest))?;
        } else {
            store.add_repo_digest(&reference.name(), &digest, &image.id)?;
        }
        let is_new = known != Some(image.id);
        self.announce_image("pull", &image.id, &reference.familiar());
        let reference = reference.clone();
        Ok((Pulled { image, reference, digest, is_new, warning: None }, index))
    }
}

async fn fetch(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    task: &Task,
) -> Result<(ImageRecord, PulledImage)> {
    // The configuration is no layer, and nobody waits for it.
    let remote = client.find_image(store, reference, platform, &Reporter::none()).await?;
    check_platform(&remote, reference, platform)?;
    let blobs = layer_blobs(&remote)?;
    let is_here =
        store.image(&remote.id)?.is_some() && blobs.iter().all(|blob| store.has_blob(&blob.digest));
    // Of an image that is here there is nothing to say.
    let reporter = if is_here { Reporter::none() } else { Reporter::from(task) };
    let image = record::describe(store, &remote.id, Some(remote.manifest.digest), &blobs)?;
    let snapshot = fetch_layers(store, client, &remote, &image, &blobs, &reporter, task).await?;
    // Only now is all of it in the store.
    record::note_layers(store, &image, &blobs)?;
    let image =
        store.image(&image.id)?.unwrap_or(ImageRecord { snapshot: Some(snapshot), ..image });
    Ok((image, remote))
}

fn check_platform(remote: &PulledImage, reference: &Reference, platform: &Platform) -> Result<()> {
    let found = remote.platform();
    if found.satisfies(platform) {
        return Ok(());
    }
    Err(EngineError::WrongPlatform {
        reference: reference.familiar(),
        found: found.to_string(),
        wanted: platform.to_string(),
    })
}

/// Fetches the layers that are not in the store and unpacks those that are not unpacked.
async fn fetch_layers(
    store: &Store,
    client: &Client,
    remote: &PulledImage,
    image: &ImageRecord,
    blobs: &[LayerBlob],
    reporter: &Reporter,
    task: &Task,
) -> Result<SnapshotId> {
    let missing = match plan(store, image)? {
        // One that is known to be elsewhere is brought from the blobs when somebody needs it.
        Plan::Ready(snapshot) => {
            let lease = &remote.lease;
            client.fetch_blobs(store, lease, &remote.reference, &remote.layers, reporter).await?;
            return Ok(snapshot);
        }
        Plan::Unpack(missing) => missing,
    };
    let downloads = Semaphore::new(client.config().concurrency.max(1));
    let cores = Semaphore::new(thread::available_parallelism().map_or(1, usize::from));
    let layers = blobs.iter().enumerate().map(|(index, blob)| {
        let missing = missing.layers.iter().find(|layer| layer.index == index);
        let (downloads, cores) = (&downloads, &cores);
        async move {
            let permit = downloads.acquire().await;
            let (lease, reference) = (&remote.lease, &remote.reference);
            let fetch = |tap| async move {
                let descriptor = &remote.layers[index];
                client.fetch_tapped(store, lease, reference, descriptor, reporter, tap).await?;
                drop(permit);
                Ok(())
            };
            let Some(MissingLayer { diff_id, .. }) = missing else {
                return fetch(Tap::default()).await.map(|()| None);
            };
            let (store, blob) = (store.clone(), blob.clone());
            let (events, vertex) = (task.events().clone(), task.id());
            let job = Job { store, diff_id: *diff_id, blob, events, vertex };
            job.fetched(cores, fetch).await.map(Some)
        }
    });
    let unpacked = try_join_all(layers).await?;
    stack(store, image, &missing, unpacked.into_iter().flatten().collect())
}

fn layer_blobs(remote: &PulledImage) -> Result<Vec<LayerBlob>> {
    remote.layers.iter().map(record::layer_blob).collect()
}
