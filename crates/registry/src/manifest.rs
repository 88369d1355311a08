//! Reading manifests: what a tag or a digest names.

use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::{Descriptor, Digest, Reference, descriptor, media_type};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Request, Response, StatusCode};
use serde::Deserialize;

use crate::client::{Client, Need};
use crate::error::RegistryError;
use crate::repository::Repository;

/// The distribution specification asks registries to take manifests of this size; no more is read.
const MANIFEST_MAX: usize = 4 << 20;

/// Everything that can be pulled. OCI comes first: registries that convert are asked not to.
const ACCEPTED: [&str; 4] = [
    media_type::OCI_INDEX,
    media_type::OCI_MANIFEST,
    media_type::DOCKER_INDEX,
    media_type::DOCKER_MANIFEST,
];

/// A manifest or an index, as the registry has it. The digest has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The document. It is passed on as these bytes and never written anew.
    pub bytes: Vec<u8>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// What it is: one of the types in [`media_type`].
    pub media_type: String,
}

impl Manifest {
    /// Describes the document.
    pub fn descriptor(&self) -> Descriptor {
        descriptor(&self.media_type, self.digest, self.bytes.len() as u64)
    }

    /// Whether it is a list of manifests.
    pub fn is_index(&self) -> bool {
        media_type::is_index(&self.media_type)
    }
}

impl Client {
    /// Reads what `reference` names: by its digest if it has one, else by its tag.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] when there is no such thing, [`RegistryError::WrongDigest`] when
    /// it is not what the digest says.
    pub async fn resolve(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        let read = |repository: Repository| async move {
            repository.persist(|| read(&repository, reference)).await
        };
        self.find(reference, Need::of(reference), read).await
    }

    /// Reads the manifest `digest` of the repository of `reference`.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub async fn manifest(
        &self,
        reference: &Reference,
        digest: Digest,
    ) -> Result<Manifest, RegistryError> {
        self.resolve(&reference.with_digest(digest)).await
    }

    /// The digest that the tag of `reference` names at the moment, without reading the document:
    /// cheap, and not counted by registries that limit pulls.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub async fn digest(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        let found = self.find(reference, Need::Tag, |repository| async move {
            match repository.persist(|| get(&repository, reference, &Method::HEAD)).await {
                Ok(response) => Ok(digest_header(response.headers())),
                // Not every registry answers HEAD.
                Err(RegistryError::Status(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        match found.await? {
            Some(digest) => Ok(digest),
            None => Ok(self.resolve(reference).await?.digest),
        }
    }
}

async fn read(repository: &Repository, reference: &Reference) -> Result<Manifest, RegistryError> {
    let response = get(repository, reference, &Method::GET).await?;
    let announced = digest_header(response.headers());
    let content_type = response.headers().get(CONTENT_TYPE);
    // Parameters, such as a charset, do not matter.
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let body = repository.endpoint.transport.body(response, MANIFEST_MAX).await;
    let bytes = body
        .map_err(|source| repository.interrupted("read a manifest", source))?
        .ok_or_else(|| malformed(reference, format!("it is larger than {MANIFEST_MAX} bytes")))?;

    let digest = Digest::of(&bytes);
    let expected = reference.digest().or(announced);
    if expected.is_some_and(|expected| expected != digest) {
        return Err(RegistryError::WrongDigest {
            what: format!("manifest of {reference}"),
            found: digest,
        });
    }
    let media_type = media_type_of(reference, &content_type, &bytes)?;
    Ok(Manifest { bytes, digest, media_type })
}

/// Asks for a manifest, reading or only asking for its headers.
async fn get(
    repository: &Repository,
    reference: &Reference,
    method: &Method,
) -> Result<Response, RegistryError> {
    let name = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    let url = repository.url(&format!("manifests/{name}"))?;
    let request = || {
        let mut request = Request::new(method.clone(), url.clone());
        for media_type in ACCEPTED {
            let value = reqwest::header::HeaderValue::from_static(media_type);
            request.headers_mut().append(ACCEPT, value);
        }
        Ok(request)
    };
    let answer = repository.send_once("read a manifest", &request).await;
    answer.map_err(|error| match error.status() {
        Some(StatusCode::NOT_FOUND) => not_found(reference),
        _ => error,
    })
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// What the document is, by the header and by its own word, which must not contradict each other:
/// the same bytes must not be one thing here and another thing elsewhere.
fn media_type_of(
    reference: &Reference,
    content_type: &str,
    bytes: &[u8],
) -> Result<String, RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    if content_type.starts_with(media_type::DOCKER_SCHEMA1.trim_end_matches("+prettyjws")) {
        let reason = "it is in Docker's old format, version 2 schema 1, which is not supported";
        return Err(malformed(reference, reason.to_owned()));
    }
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|error| malformed(reference, error.to_string()))?;
    let known = |name: &&str| media_type::is_index(name) || media_type::is_manifest(name);
    let shaped = match (&shape.manifests, &shape.layers) {
        (Some(_), None) => media_type::OCI_INDEX,
        (None, Some(_)) => media_type::OCI_MANIFEST,
        (Some(_), Some(_)) => {
            return Err(malformed(reference, "it is an index and a manifest at once".to_owned()));
        }
        (None, None) => {
            let media_type = shape.media_type.unwrap_or_else(|| content_type.to_owned());
            return Err(RegistryError::NotAnImage { reference: reference.to_string(), media_type });
        }
    };
    let own = shape.media_type.as_deref().filter(known);
    let told = Some(content_type).filter(known);
    let media_type = own.or(told).unwrap_or(shaped);
    if media_type::is_index(media_type) != media_type::is_index(shaped)
        || told.is_some_and(|told| media_type::is_index(told) != media_type::is_index(shaped))
    {
        let reason = format!("it is not the {content_type:?} that it is said to be");
        return Err(malformed(reference, reason));
    }
    let check = if media_type::is_index(media_type) {
        parse_index(bytes).map(drop)
    } else {
        parse_manifest(bytes).map(drop)
    };
    check.map_err(|error| RegistryError::document(format!("manifest of {reference}"), &error))?;
    Ok(media_type.to_owned())
}

fn malformed(reference: &Reference, reason: String) -> RegistryError {
    RegistryError::Malformed { what: format!("manifest of {reference}"), reason }
}

fn not_found(reference: &Reference) -> RegistryError {
    RegistryError::NotFound { reference: reference.to_string() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use bld_oci::document::{new_index, to_bytes};

    use super::*;

    fn kind(content_type: &str, bytes: &[u8]) -> Result<String, String> {
        let reference = Reference::parse("r.example/a").unwrap();
        media_type_of(&reference, content_type, bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn the_document_and_the_header_must_agree() {
        let index = to_bytes(&new_index(media_type::DOCKER_INDEX, Vec::new())).unwrap();
        for header in [media_type::DOCKER_INDEX, "application/json", ""] {
            assert_eq!(kind(header, &index).unwrap(), media_type::DOCKER_INDEX);
        }
        assert!(kind(media_type::OCI_MANIFEST, &index).unwrap_err().contains("not the"));
        let untyped = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(kind(media_type::DOCKER_INDEX, untyped).unwrap(), media_type::DOCKER_INDEX);
        assert_eq!(kind("text/plain", untyped).unwrap(), media_type::OCI_INDEX);
    }

    #[test]
    fn other_things_are_refused() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(kind("", both).unwrap_err().contains("an index and a manifest at once"));
        assert!(kind("", br#"{"mediaType":"x/y"}"#).unwrap_err().contains("\"x/y\""));
        assert!(kind("", b"<html>").unwrap_err().contains("malformed"));
        assert!(kind(media_type::DOCKER_SCHEMA1, b"{}").unwrap_err().contains("schema 1"));
    }
}
