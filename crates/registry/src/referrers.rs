//! What refers to a manifest, such as attestations: by the registry's own list, or, where it keeps
//! none, by an index under a tag made of the digest.

use bld_oci::document::{new_index, parse_index, to_bytes};
use bld_oci::{Descriptor, Digest, Reference, media_type};
use bld_store::Store;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Request, StatusCode};

use crate::client::Client;
use crate::error::RegistryError;
use crate::manifest::Manifest;
use crate::progress::Reporter;
use crate::push::{Pushed, put_manifest};
use crate::tags::next_page;

/// The largest page that is read.
const PAGE_MAX: usize = 8 << 20;

impl Client {
    /// Pushes a manifest whose `subject` is the manifest `subject` of the repository of `reference`,
    /// and sees to it that it is found from there. `described` is how it is listed.
    ///
    /// # Errors
    /// As [`Client::push_image`].
    pub async fn push_referrer(
        &self,
        store: &Store,
        reference: &Reference,
        subject: Digest,
        manifest: &Manifest,
        described: Descriptor,
    ) -> Result<Pushed, RegistryError> {
        let name = reference.by_digest(manifest.digest);
        let pushed = self.push(store, &name, manifest, &[], &Reporter::none()).await?;
        self.list_referrer(reference, subject, described).await?;
        Ok(pushed)
    }

    /// Sees to it that a manifest that is in the repository of `reference` is found from its subject.
    pub(crate) async fn list_referrer(
        &self,
        reference: &Reference,
        subject: Digest,
        described: Descriptor,
    ) -> Result<(), RegistryError> {
        if self.listed(reference, subject).await?.is_some() {
            return Ok(());
        }
        let place = fallback(reference, subject)?;
        let mut listed = self.listed_by_tag(&place).await?;
        if !listed.iter().any(|known| known.digest() == described.digest()) {
            listed.push(described);
            let bytes = to_bytes(&new_index(media_type::OCI_INDEX, listed));
            let bytes =
                bytes.map_err(|error| RegistryError::document(format!("index {place}"), &error))?;
            let index = Manifest::new(media_type::OCI_INDEX, bytes)?;
            let repository = self.destination(reference, &[]).await?;
            put_manifest(&repository, place.tag().unwrap_or_default(), &index).await?;
        }
        Ok(())
    }

    /// The manifests that refer to the manifest `subject` of the repository of `reference`.
    ///
    /// # Errors
    /// Whatever keeps from asking. That there are none is no error.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        match self.listed(reference, subject).await? {
            Some(listed) => Ok(listed),
            None => self.listed_by_tag(&fallback(reference, subject)?).await,
        }
    }

    /// The registry's own list; none: it keeps none.
    async fn listed(
        &self,
        reference: &Reference,
        subject: Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let repository = self.origin(reference).await?;
        let mut listed = Vec::new();
        let mut next = Some(repository.url(&format!("referrers/{subject}"))?);
        while let Some(url) = next {
            let request = || {
                let mut request = Request::new(Method::GET, url.clone());
                let accepted = HeaderValue::from_static(media_type::OCI_INDEX);
                request.headers_mut().insert(ACCEPT, accepted);
                Ok(request)
            };
            let response = match repository.send("list referrers", &request).await {
                Ok(response) => response,
                Err(error) if is_unknown(error.status()) => return Ok(None),
                Err(error) => return Err(error),
            };
            // A page that leads back to itself would never end.
            next = next_page(&response, &url).filter(|next| *next != url);
            let body = repository.endpoint.transport.body(response, PAGE_MAX).await;
            let body = body
                .map_err(|source| repository.interrupted("list referrers", source))?
                .ok_or_else(|| repository.protocol("its list of referrers has no end"))?;
            let page = parse_index(&body)
                .map_err(|error| repository.protocol(format!("its list of referrers: {error}")))?;
            listed.extend(page.manifests().iter().cloned());
        }
        Ok(Some(listed))
    }

    /// The list under the tag of the digest.
    async fn listed_by_tag(&self, place: &Reference) -> Result<Vec<Descriptor>, RegistryError> {
        match self.resolve(place).await {
            Ok(index) if index.is_index() => {
                let index = parse_index(&index.bytes)
                    .map_err(|error| RegistryError::document(format!("index {place}"), &error))?;
                Ok(index.manifests().clone())
            }
            Ok(_) | Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Answers of registries that have never heard of such lists.
fn is_unknown(status: Option<StatusCode>) -> bool {
    matches!(status, Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED))
}

/// The tag under which referrers are listed by those who push them.
fn fallback(reference: &Reference, subject: Digest) -> Result<Reference, RegistryError> {
    named(&format!("{}:sha256-{}", reference.name(), subject.hex()))
}

fn named(name: &str) -> Result<Reference, RegistryError> {
    Reference::parse(name).map_err(|error| RegistryError::Malformed {
        what: format!("name {name}"),
        reason: error.to_string(),
    })
}
