//! Pushing an image: blobs first, then what names them.

use std::collections::BTreeSet;

use bld_event::Events;
use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Reference, media_type};
use bld_store::Store;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request};

use crate::client::Client;
use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::progress::Reporter;
use crate::repository::Repository;
use crate::upload::{Source, Upload};

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest or index, by which it can be pulled.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Client {
    /// Pushes an image: `manifest` names what is pushed, the blobs come from `store`. A manifest
    /// that is an index takes the manifests it names along, which are blobs of the store, too.
    ///
    /// The result is tagged as `reference` says; a reference with a digest only is not tagged.
    /// `mount_from` are references that blobs of the image came from: their repositories, if on the
    /// same registry, are asked to lend what they have.
    ///
    /// # Errors
    /// [`RegistryError::Denied`] without the right to push, a store error for a blob that is not
    /// there, and what registries answer.
    pub async fn push_image(
        &self,
        store: &Store,
        reference: &Reference,
        manifest: &Manifest,
        mount_from: &[Reference],
        events: &Events,
    ) -> Result<Pushed, RegistryError> {
        let task = events.task(format!("push {}", reference.familiar()));
        let reporter = Reporter::from(&task);
        let result = self.push(store, reference, manifest, mount_from, &reporter);
        task.finish(result.await)
    }

    /// Gives `reference` a manifest or index; what that names is in the repository already.
    ///
    /// # Errors
    /// As [`Client::push_image`].
    pub async fn put(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let repository = self.destination(reference, &[]).await?;
        let digest = manifest.digest.to_string();
        put_manifest(&repository, reference.tag().unwrap_or(&digest), manifest).await
    }

    /// [`Client::push_image`] as part of a vertex of the caller's.
    ///
    /// # Errors
    /// As [`Client::push_image`].
    pub async fn push(
        &self,
        store: &Store,
        reference: &Reference,
        manifest: &Manifest,
        mount_from: &[Reference],
        reporter: &Reporter,
    ) -> Result<Pushed, RegistryError> {
        let contents = contents(store, reference, manifest)?;
        self.push_contents(store, reference, manifest, contents, mount_from, reporter).await
    }

    /// As [`Client::push`], for a manifest that names `blobs` in whatever way, for instance as the entries
    /// of an index.
    ///
    /// # Errors
    /// As [`Client::push_image`].
    pub async fn push_parts(
        &self,
        store: &Store,
        reference: &Reference,
        manifest: &Manifest,
        blobs: Vec<Descriptor>,
        mount_from: &[Reference],
        reporter: &Reporter,
    ) -> Result<Pushed, RegistryError> {
        let contents = Contents { blobs, manifests: Vec::new() };
        self.push_contents(store, reference, manifest, contents, mount_from, reporter).await
    }

    async fn push_contents(
        &self,
        store: &Store,
        reference: &Reference,
        manifest: &Manifest,
        contents: Contents,
        mount_from: &[Reference],
        reporter: &Reporter,
    ) -> Result<Pushed, RegistryError> {
        let lenders: BTreeSet<_> = mount_from
            .iter()
            .filter(|from| from.domain() == reference.domain() && from.path() != reference.path())
            .map(|from| from.path().to_owned())
            .collect();
        let lenders: Vec<_> = lenders.into_iter().collect();
        let repository = self.destination(reference, &lenders).await?;
        let upload = |descriptor: Descriptor| {
            let (repository, lenders) = (&repository, &lenders);
            async move {
                let source = Source::Store(store);
                self.upload(source, repository, lenders, &descriptor, reporter).await
            }
        };
        stream::iter(contents.blobs)
            .map(upload)
            .buffer_unordered(self.config().concurrency.max(1))
            .try_collect::<()>()
            .await?;
        for child in &contents.manifests {
            put_manifest(&repository, &child.digest.to_string(), child).await?;
        }
        let name = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, _) => manifest.digest.to_string(),
        };
        put_manifest(&repository, &name, manifest).await?;
        Ok(Pushed { digest: manifest.digest, size: manifest.bytes.len() as u64 })
    }

    pub(crate) async fn upload(
        &self,
        source: Source<'_>,
        repository: &Repository,
        lenders: &[String],
        descriptor: &Descriptor,
        reporter: &Reporter,
    ) -> Result<(), RegistryError> {
        let upload = Upload {
            source,
            repository,
            digest: digest_of(descriptor)?,
            size: descriptor.size(),
            mount_from: lenders,
            chunk_size: self.config().chunk_size,
            idle: self.config().idle_timeout,
            item: reporter.blob(descriptor),
        };
        upload.run().await
    }
}

/// Everything that a manifest needs to be complete.
#[derive(Default)]
struct Contents {
    /// Every blob once, the large ones mostly first.
    blobs: Vec<Descriptor>,
    /// Manifests by digest, each after those that it names.
    manifests: Vec<Manifest>,
}

fn contents(
    store: &Store,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Contents, RegistryError> {
    let mut contents = Contents::default();
    collect(store, reference, manifest, &mut contents)?;
    let mut seen = BTreeSet::new();
    contents.blobs.retain(|blob| seen.insert(blob.digest().to_string()));
    Ok(contents)
}

fn collect(
    store: &Store,
    reference: &Reference,
    manifest: &Manifest,
    contents: &mut Contents,
) -> Result<(), RegistryError> {
    if !manifest.is_index() {
        contents.blobs.extend(blobs(reference, manifest)?);
        return Ok(());
    }
    let index = parse_index(&manifest.bytes)
        .map_err(|error| RegistryError::document(format!("index of {reference}"), &error))?;
    for descriptor in index.manifests() {
        let digest = digest_of(descriptor)?;
        let bytes = store.read_blob(&digest)?;
        let child = Manifest { bytes, digest, media_type: descriptor.media_type().to_string() };
        collect(store, reference, &child, contents)?;
        contents.manifests.push(child);
    }
    Ok(())
}

/// The blobs that a manifest names. Layers that are only linked to are somebody else's to distribute.
pub(crate) fn blobs(
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let document = parse_manifest(&manifest.bytes)
        .map_err(|error| RegistryError::document(format!("manifest of {reference}"), &error))?;
    let ours = |layer: &&Descriptor| layer.urls().as_ref().is_none_or(Vec::is_empty);
    let layers = document.layers().iter().filter(ours);
    Ok(layers.chain([document.config()]).cloned().collect())
}

pub(crate) async fn put_manifest(
    repository: &Repository,
    name: &str,
    manifest: &Manifest,
) -> Result<(), RegistryError> {
    let url = repository.url(&format!("manifests/{name}"))?;
    let kind =
        HeaderValue::from_str(&manifest.media_type).map_err(|_| RegistryError::Malformed {
            what: "media type of a manifest".to_owned(),
            reason: format!("{:?}", manifest.media_type),
        })?;
    let request = || {
        let mut request = Request::new(Method::PUT, url.clone());
        request.headers_mut().insert(CONTENT_TYPE, kind.clone());
        *request.body_mut() = Some(Body::from(manifest.bytes.clone()));
        Ok(request)
    };
    let attempt = || async {
        let response = repository.send_once("upload a manifest", &request).await?;
        let kept = response.headers().get("docker-content-digest");
        let kept = kept.and_then(|digest| digest.to_str().ok()?.parse::<Digest>().ok());
        match kept.filter(|&kept| kept != manifest.digest) {
            // What was spoilt on its way has a name by now, which the next attempt takes from it.
            Some(found) => {
                let what =
                    format!("manifest {} at {}", manifest.digest, repository.endpoint.registry);
                Err(RegistryError::WrongDigest { what, found })
            }
            None => Ok(()),
        }
    };
    repository.persist(attempt).await
}

pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, RegistryError> {
    descriptor.sha256().map_err(|error| RegistryError::Malformed {
        what: "descriptor of a manifest".to_owned(),
        reason: error.to_string(),
    })
}

impl Manifest {
    /// A manifest or index made here.
    ///
    /// # Errors
    /// [`RegistryError::NotAnImage`] when the document says it is neither.
    pub fn new(media_type: impl Into<String>, bytes: Vec<u8>) -> Result<Self, RegistryError> {
        let media_type = media_type.into();
        let digest = Digest::of(&bytes);
        if media_type::is_index(&media_type) || media_type::is_manifest(&media_type) {
            return Ok(Self { bytes, digest, media_type });
        }
        Err(RegistryError::NotAnImage { reference: digest.to_string(), media_type })
    }
}
