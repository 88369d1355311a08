//! Copying from one repository to another: within a registry nothing is transferred, between two of
//! them bytes pass through without being kept.

use std::pin::Pin;
use std::sync::Arc;

use bld_oci::document::parse_index;
use bld_oci::{Descriptor, Digest, Reference};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, Request};

use crate::client::{Client, Need};
use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::progress::Reporter;
use crate::push::{blobs, digest_of, put_manifest};
use crate::repository::Repository;
use crate::upload::Source;

/// What refers to an image and goes where the image goes: attestations, and signatures of cosign.
const COMPANIONS: [&str; 3] = [
    "application/vnd.docker.attestation.manifest.v1+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
];

impl Client {
    /// Copies `manifest`, which the repository of `from` has, and all that it names to the repository
    /// of `to`, where it has its digest and no tag afterwards. Attestations and signatures that refer
    /// to what is copied go along.
    ///
    /// # Errors
    /// As [`Client::resolve`] for what is not there, [`Client::push_image`] for what cannot be
    /// written.
    pub async fn copy(
        &self,
        from: &Reference,
        to: &Reference,
        manifest: &Manifest,
        reporter: &Reporter,
    ) -> Result<(), RegistryError> {
        if from.name() == to.name() {
            return Ok(());
        }
        let lenders =
            if from.domain() == to.domain() { &[from.path().to_owned()][..] } else { &[] };
        let target = self.destination(to, lenders).await?;
        Copy { client: self, from, to, target, lenders, reporter }.manifest(manifest).await
    }
}

/// One copy that is being made.
struct Copy<'a> {
    client: &'a Client,
    from: &'a Reference,
    to: &'a Reference,
    target: Repository,
    lenders: &'a [String],
    reporter: &'a Reporter,
}

/// What indexes, which may name indexes, and referrers need.
type Recursive<'a> = Pin<Box<dyn Future<Output = Result<(), RegistryError>> + Send + 'a>>;

impl Copy<'_> {
    /// A manifest after what it names, and what refers to it after both.
    fn manifest<'a>(&'a self, manifest: &'a Manifest) -> Recursive<'a> {
        Box::pin(async move {
            if manifest.is_index() {
                for child in children(self.from, manifest)? {
                    let child = self.client.manifest(self.from, child).await?;
                    self.manifest(&child).await?;
                }
            } else {
                stream::iter(blobs(self.from, manifest)?)
                    .map(|blob| self.blob(blob))
                    .buffer_unordered(self.client.config().concurrency.max(1))
                    .try_collect::<()>()
                    .await?;
            }
            put_manifest(&self.target, &manifest.digest.to_string(), manifest).await?;
            for companion in self.client.referrers(self.from, manifest.digest).await? {
                let kind = companion.artifact_type().as_ref().map(AsRef::<str>::as_ref);
                if !kind.is_some_and(|kind| COMPANIONS.contains(&kind)) {
                    continue;
                }
                let found = self.client.manifest(self.from, digest_of(&companion)?).await?;
                self.manifest(&found).await?;
                self.client.list_referrer(self.to, manifest.digest, companion).await?;
            }
            Ok(())
        })
    }

    async fn blob(&self, blob: Descriptor) -> Result<(), RegistryError> {
        let digest = digest_of(&blob)?;
        let source = if self.lenders.is_empty() {
            let place = |repository: Repository| async move {
                let url = repository.url(&format!("blobs/{digest}"))?;
                let request = || Ok(Request::new(Method::HEAD, url.clone()));
                repository.send("look for a blob", &request).await.map(|_| repository)
            };
            self.client.find(self.from, Need::Content, place).await?
        } else {
            self.client.origin(self.from).await?
        };
        let source = Source::Repository(source, Arc::default());
        self.client.upload(source, &self.target, self.lenders, &blob, self.reporter).await
    }
}

/// What an index names.
fn children(reference: &Reference, index: &Manifest) -> Result<Vec<Digest>, RegistryError> {
    let index = parse_index(&index.bytes)
        .map_err(|error| RegistryError::document(format!("index of {reference}"), &error))?;
    index.manifests().iter().map(digest_of).collect()
}
