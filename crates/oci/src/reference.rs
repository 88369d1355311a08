//! Image references, read the way Docker reads them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::grammar::{is_domain, is_path, is_tag};
use crate::{Digest, DigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Docker's limit on the path of a repository.
const PATH_MAX: usize = 255;

/// The name of an image: `[domain/]path[:tag][@digest]`.
///
/// Names are completed as Docker does: `busybox` means `docker.io/library/busybox:latest`. The
/// first component is a registry only if it contains a dot or a colon, or is `localhost`. The grammar is that of [distribution/reference][grammar].
///
/// [grammar]: https://pkg.go.dev/github.com/distribution/reference
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads and completes a name. The tag defaults to `latest` unless a digest is given.
    ///
    /// # Errors
    /// [`ReferenceError`] names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::LooksLikeId { reference: text.to_owned() });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let digest = digest
            .map(str::parse)
            .transpose()
            .map_err(|source| ReferenceError::Digest { reference: text.to_owned(), source })?;
        // A colon after the last slash starts the tag; one before it belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (domain, path) = split_domain(name);
        check_name(text, &domain, &path)?;
        let tag = tag.or(if digest.is_none() { Some(DEFAULT_TAG) } else { None });
        let reference = Self { domain, path, tag: None, digest };
        match tag {
            Some(tag) => Ok(Self { tag: Some(check_tag(text, tag)?), ..reference }),
            None => Ok(reference),
        }
    }

    /// Whether `text` names no registry, so that something has to be put in front of it.
    pub fn is_short(text: &str) -> bool {
        let first = text.split_once('/').map(|(first, _)| first);
        !first.is_some_and(names_registry)
    }

    /// The registry, with its port if it has one: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path, without tag and digest: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository under another tag and without a digest: what the digest named is not
    /// what the new tag names.
    ///
    /// # Errors
    /// [`ReferenceError::Tag`] when `tag` is not one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        let tag = check_tag(&format!("{}:{tag}", self.familiar_name()), tag)?;
        Ok(Self { tag: Some(tag), digest: None, ..self.clone() })
    }

    /// The same name, pinned to `digest`. The tag is kept, for people to read.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository by `digest` alone.
    #[must_use]
    pub fn by_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The shortest form that reads back as the same reference: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    /// The name as people write it, without tag and digest: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            let official = self.path.strip_prefix(OFFICIAL).unwrap_or_default();
            for short in [official, &self.path] {
                // `localhost/x` or 64 hex digits mean something else when they stand alone.
                let same = split_domain(short) == (self.domain.clone(), self.path.clone());
                if same && !short.is_empty() && Digest::from_hex(short).is_err() {
                    return short.to_owned();
                }
            }
        }
        self.name()
    }

    /// Whether the registry is on this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        let host = match self.domain.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => self.domain.split(':').next().unwrap_or_default(),
        };
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

/// Whether the first part of a path is a registry.
fn names_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

/// Splits a name into its registry and the completed path.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if names_registry(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

fn check_name(text: &str, domain: &str, path: &str) -> Result<(), ReferenceError> {
    let reference = || text.to_owned();
    if path.contains(char::is_uppercase) {
        return Err(ReferenceError::Uppercase { reference: reference() });
    }
    if path.len() > PATH_MAX {
        return Err(ReferenceError::TooLong { reference: reference() });
    }
    if !is_domain(domain) {
        return Err(ReferenceError::Domain { reference: reference(), domain: domain.to_owned() });
    }
    if !is_path(path) {
        let path = path.strip_prefix(OFFICIAL).unwrap_or(path).to_owned();
        return Err(ReferenceError::Path { reference: reference(), path });
    }
    Ok(())
}

fn check_tag(text: &str, tag: &str) -> Result<String, ReferenceError> {
    if is_tag(tag) {
        return Ok(tag.to_owned());
    }
    Err(ReferenceError::Tag { reference: text.to_owned(), tag: tag.to_owned() })
}

impl fmt::Display for Reference {
    /// The complete form: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// There is nothing.
    #[error("image reference is empty")]
    Empty,
    /// 64 hexadecimal digits are an image id, and must not become the name of a repository.
    #[error("image reference {reference:?} looks like an image id, a name must not")]
    LooksLikeId {
        /// The text.
        reference: String,
    },
    /// The repository has uppercase letters.
    #[error("image reference {reference:?} has uppercase letters, repository names are lowercase")]
    Uppercase {
        /// The text.
        reference: String,
    },
    /// The repository is longer than a registry takes.
    #[error("repository of image reference {reference:?} is longer than {PATH_MAX} characters")]
    TooLong {
        /// The text.
        reference: String,
    },
    /// The registry is not a host name.
    #[error("registry {domain:?} of image reference {reference:?} is not a host name")]
    Domain {
        /// The text.
        reference: String,
        /// The part that is wrong.
        domain: String,
    },
    /// The repository is malformed.
    #[error(
        "repository {path:?} of image reference {reference:?} is malformed: \
         lowercase letters and digits, separated by '.', '_', '__', '-' or '/'"
    )]
    Path {
        /// The text.
        reference: String,
        /// The part that is wrong.
        path: String,
    },
    /// The tag is malformed.
    #[error(
        "tag {tag:?} of image reference {reference:?} is malformed: \
         1 to 128 letters, digits, '_', '.' or '-', not beginning with '.' or '-'"
    )]
    Tag {
        /// The text.
        reference: String,
        /// The part that is wrong.
        tag: String,
    },
    /// The digest is malformed.
    #[error("digest of image reference {reference:?} is malformed")]
    Digest {
        /// The text.
        reference: String,
        /// What is wrong with it.
        source: DigestError,
    },
}
