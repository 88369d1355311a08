//! Pulling an image: manifest, configuration and layers into the store.

use bld_event::Events;
use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::{
    Descriptor, DescriptorExt as _, Digest, ImageConfig, Platform, Reference, media_type,
};
use bld_store::{Lease, Store};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::client::Client;
use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::progress::Reporter;

/// An index may name an index, but not without end.
const DEPTH_MAX: usize = 4;
/// The largest configuration that is read; real ones have some kilobytes.
const CONFIG_MAX: u64 = 16 << 20;

/// An image at a registry, for one platform. Its manifest and its configuration are in the store;
/// its layers are after [`Client::pull_image`].
#[derive(Debug)]
pub struct PulledImage {
    /// What was asked for.
    pub reference: Reference,
    /// What the reference names: the index, if it names one, else the manifest.
    pub digest: Digest,
    /// The index that lists the manifest, if it was found by way of one.
    pub index: Option<Manifest>,
    /// The manifest of the image.
    pub manifest: Manifest,
    /// The image's id: the digest of the configuration.
    pub id: Digest,
    /// The configuration, read.
    pub config: ImageConfig,
    /// The layers, lowest first; as many as the configuration has diff ids.
    pub layers: Vec<Descriptor>,
    /// Keeps garbage collection from the blobs until something in the store names them.
    pub lease: Lease,
}

impl PulledImage {
    /// The platform that the image says it is for, which for an image without an index need not be
    /// the one that was asked for.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }
}

impl Client {
    /// Finds the image that `reference` names for `platform`, without its layers.
    ///
    /// # Errors
    /// [`RegistryError::NoPlatform`] when there is none for the platform,
    /// [`RegistryError::NotAnImage`] when the reference names something else, and what
    /// [`Client::resolve`] and [`Client::fetch_blob`] report.
    pub async fn find_image(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        reporter: &Reporter,
    ) -> Result<PulledImage, RegistryError> {
        let lease = store.lease();
        let named = self.resolve(reference).await?;
        let digest = named.digest;
        let (manifest, index) = self.choose(reference, platform, named).await?;
        let document = parse_manifest(&manifest.bytes)
            .map_err(|error| RegistryError::document(format!("manifest of {reference}"), &error))?;
        let kind = document.config().media_type();
        if !media_type::is_config(kind.as_ref()) {
            return Err(RegistryError::NotAnImage {
                reference: reference.to_string(),
                media_type: document.artifact_type().as_ref().unwrap_or(kind).to_string(),
            });
        }
        let malformed = |reason: String| RegistryError::Malformed {
            what: format!("configuration of {reference}"),
            reason,
        };
        if document.config().size() > CONFIG_MAX {
            return Err(malformed(format!("it is larger than {CONFIG_MAX} bytes")));
        }
        let id = self.fetch_blob(store, &lease, reference, document.config(), reporter).await?;
        let config = ImageConfig::parse(&store.read_blob(&id)?)
            .map_err(|error| malformed(error.to_string()))?;
        let layers = document.layers().clone();
        let diff_ids = config.rootfs.diff_ids.len();
        if diff_ids != layers.len() {
            return Err(malformed(format!("{diff_ids} diff ids for {} layers", layers.len())));
        }
        store.put_blob(&manifest.bytes)?;
        Ok(PulledImage {
            reference: reference.clone(),
            digest,
            index,
            manifest,
            id,
            config,
            layers,
            lease,
        })
    }

    /// Pulls the image that `reference` names for `platform` into `store`: manifest, configuration
    /// and layers, as blobs. Reports as one vertex on `events`.
    ///
    /// Whoever needs a layer before the last one has come calls [`Client::find_image`] and
    /// [`Client::fetch_blob`] instead.
    ///
    /// # Errors
    /// What [`Client::find_image`] and [`Client::fetch_blob`] report. Blobs that are complete stay
    /// in the store and are not transferred by the next attempt.
    pub async fn pull_image(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        events: &Events,
    ) -> Result<PulledImage, RegistryError> {
        let task = events.task(format!("pull {}", reference.familiar()));
        let reporter = Reporter::from(&task);
        let result = async {
            let image = self.find_image(store, reference, platform, &reporter).await?;
            self.fetch_blobs(store, &image.lease, reference, &image.layers, &reporter).await?;
            Ok(image)
        };
        task.finish(result.await)
    }

    /// Receives several blobs at the same time, as many as the settings say. The first failure
    /// ends all.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`].
    pub async fn fetch_blobs(
        &self,
        store: &Store,
        lease: &Lease,
        reference: &Reference,
        descriptors: &[Descriptor],
        reporter: &Reporter,
    ) -> Result<(), RegistryError> {
        let fetch = |descriptor: Descriptor| async move {
            self.fetch_blob(store, lease, reference, &descriptor, reporter).await.map(drop)
        };
        stream::iter(descriptors.to_vec())
            .map(fetch)
            .buffer_unordered(self.config().concurrency.max(1))
            .try_collect()
            .await
    }

    /// Follows an index to the manifest for `platform`; that, and the index that lists it.
    async fn choose(
        &self,
        reference: &Reference,
        platform: &Platform,
        named: Manifest,
    ) -> Result<(Manifest, Option<Manifest>), RegistryError> {
        let (mut manifest, mut listing) = (named, None);
        for _ in 0..DEPTH_MAX {
            if !manifest.is_index() {
                return Ok((manifest, listing));
            }
            let index = parse_index(&manifest.bytes).map_err(|error| {
                RegistryError::document(format!("index of {reference}"), &error)
            })?;
            let chosen = platform.choose(index.manifests());
            let chosen = chosen.ok_or_else(|| RegistryError::NoPlatform {
                reference: reference.to_string(),
                wanted: Box::new(platform.clone()),
                available: Platform::available(index.manifests()),
            })?;
            let digest = chosen.sha256().map_err(|error| RegistryError::Malformed {
                what: format!("index of {reference}"),
                reason: error.to_string(),
            })?;
            listing =
                Some(std::mem::replace(&mut manifest, self.manifest(reference, digest).await?));
        }
        Err(RegistryError::Malformed {
            what: format!("index of {reference}"),
            reason: "indexes are nested too deeply".to_owned(),
        })
    }
}
