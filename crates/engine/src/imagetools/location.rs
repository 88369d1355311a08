//! Where images are: at registries, and in directories with an OCI layout.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bld_oci::document::{parse_index, parse_manifest};
use bld_oci::layout::{self, IMAGE_NAME, REF_NAME};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Reference};
use bld_registry::Manifest;
use bld_store::{Lease, Store};
use serde_json::Value;

use crate::error::IoContext as _;
use crate::images::find;
use crate::{EngineError, Result};

/// How a location in a directory begins.
const SCHEME: &str = "oci-layout://";
/// The largest document that is read, bytes.
const DOCUMENT_MAX: u64 = 16 << 20;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// At a registry.
    Registry(Reference),
    /// In a directory.
    Layout(Layout),
}

/// An image of an OCI layout, `oci-layout://PATH[:TAG|@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The directory.
    pub dir: PathBuf,
    /// Which of its images: a tag, or a digest. None: the only one, or `latest`.
    pub selector: Option<String>,
}

impl Location {
    /// What `name` names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match Layout::parse(name) {
            Some(layout) => Ok(Self::Layout(layout)),
            None => find::parse(name).map(Self::Registry),
        }
    }

    /// What has this digest in the same place.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        match self {
            Self::Registry(reference) => Self::Registry(reference.with_digest(digest)),
            Self::Layout(layout) => {
                let selector = Some(digest.to_string());
                Self::Layout(Layout { selector, ..layout.clone() })
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Layout(layout) => layout.fmt(f),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.dir.display())?;
        match &self.selector {
            None => Ok(()),
            Some(digest) if digest.starts_with("sha256:") => write!(f, "@{digest}"),
            Some(tag) => write!(f, ":{tag}"),
        }
    }
}

impl Layout {
    /// The image that `text` names, if it is one of a layout.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(SCHEME)?;
        let (path, selector) = match rest.split_once('@') {
            // A digest counts, whatever tag there is.
            Some((path, digest)) => (split_tag(path).0, Some(digest)),
            None => split_tag(rest),
        };
        Some(Self { dir: path.into(), selector: selector.map(str::to_owned) })
    }

    fn malformed(&self, problem: impl fmt::Display) -> EngineError {
        EngineError::Archive { problem: format!("{self}: {problem}") }
    }

    /// The manifest or index that is meant.
    pub(crate) fn resolve(&self) -> Result<Manifest> {
        let path = self.dir.join("index.json");
        let bytes = fs::read(&path).at("read", &path)?;
        let index = parse_index(&bytes).map_err(|error| self.malformed(error))?;
        let wanted = match (&self.selector, index.manifests().as_slice()) {
            (None, [only]) => return self.document(only),
            (selector, _) => selector.as_deref().unwrap_or("latest"),
        };
        let is_meant = |entry: &&Descriptor| {
            let mut names =
                [REF_NAME, IMAGE_NAME].into_iter().filter_map(|name| entry.annotation(name));
            entry.digest().as_ref() == wanted
                || names.any(|name| name == wanted || name.ends_with(&format!(":{wanted}")))
        };
        if let Some(entry) = index.manifests().iter().find(is_meant) {
            return self.document(entry);
        }
        // What an index in it leads to has no entry of its own.
        match wanted.parse::<Digest>() {
            Ok(digest) => self.manifest(digest),
            Err(_) => Err(self.malformed(format!("there is no image {wanted}"))),
        }
    }

    fn document(&self, entry: &Descriptor) -> Result<Manifest> {
        let digest = entry.sha256().map_err(|error| self.malformed(error))?;
        Ok(Manifest::new(entry.media_type().to_string(), self.read(digest)?)?)
    }

    /// The manifest or index `digest`.
    pub(crate) fn manifest(&self, digest: Digest) -> Result<Manifest> {
        let bytes = self.read(digest)?;
        let kind: Value = serde_json::from_slice(&bytes).map_err(|error| self.malformed(error))?;
        // It need not say so itself.
        let usual = if kind.get("manifests").is_some() {
            bld_oci::media_type::OCI_INDEX
        } else {
            bld_oci::media_type::OCI_MANIFEST
        };
        let kind = kind["mediaType"].as_str().unwrap_or(usual).to_owned();
        Ok(Manifest::new(kind, bytes)?)
    }

    /// The bytes of a document, which are what their name says.
    pub(crate) fn read(&self, digest: Digest) -> Result<Vec<u8>> {
        let path = self.blob(digest);
        let file = fs::File::open(&path).at("open", &path)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).at("read", &path)?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(self.malformed(format!("{digest} is larger than {DOCUMENT_MAX} bytes")));
        }
        match Digest::of(&bytes) {
            found if found == digest => Ok(bytes),
            found => Err(self.malformed(format!("{digest} hashes to {found}"))),
        }
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        layout::blob(&self.dir, &digest)
    }

    /// The configuration that `manifest` names.
    pub(super) fn config(&self, manifest: &Manifest) -> Result<Value> {
        let document = parse_manifest(&manifest.bytes).map_err(|error| self.malformed(error))?;
        let digest = document.config().sha256().map_err(|error| self.malformed(error))?;
        serde_json::from_slice(&self.read(digest)?).map_err(|error| self.malformed(error))
    }

    /// Brings all that `manifest` leads to into the store, where `lease` keeps it.
    pub(super) fn take_in(&self, store: &Store, lease: &Lease, manifest: &Manifest) -> Result<()> {
        lease.hold_blob(&store.put_blob(&manifest.bytes)?)?;
        let sha256 = |blob: &Descriptor| blob.sha256().map_err(|error| self.malformed(error));
        if manifest.is_index() {
            let index = parse_index(&manifest.bytes).map_err(|error| self.malformed(error))?;
            for entry in index.manifests() {
                self.take_in(store, lease, &self.manifest(sha256(entry)?)?)?;
            }
            return Ok(());
        }
        let document = parse_manifest(&manifest.bytes).map_err(|error| self.malformed(error))?;
        for blob in document.layers().iter().chain([document.config()]) {
            let digest = sha256(blob)?;
            if !store.has_blob(&digest) && blob.urls().as_ref().is_none_or(Vec::is_empty) {
                copy(store, &self.blob(digest), &digest)?;
            }
            if store.has_blob(&digest) {
                lease.hold_blob(&digest)?;
            }
        }
        Ok(())
    }
}

/// Takes a file in as a blob, if it is what it should be.
fn copy(store: &Store, from: &Path, digest: &Digest) -> Result<()> {
    let mut file = fs::File::open(from).at("open", from)?;
    let mut blob = store.blob_writer()?;
    std::io::copy(&mut file, &mut blob).at("copy", from)?;
    blob.commit(Some(*digest))?;
    Ok(())
}

/// A path and a tag behind it. A colon within a directory's name is none of ours.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_layouts_have_names() {
        for (text, dir, selector) in [
            ("oci-layout://a/b", "a/b", None),
            ("oci-layout:///a/b:v1", "/a/b", Some("v1")),
            ("oci-layout://./a:b/c", "./a:b/c", None),
            ("oci-layout://a:v1@sha256:00", "a", Some("sha256:00")),
        ] {
            let layout = Layout::parse(text);
            let found =
                layout.as_ref().map(|layout| (layout.dir.as_path(), layout.selector.as_deref()));
            assert_eq!(found, Some((Path::new(dir), selector)), "{text}");
        }
        assert_eq!(Layout::parse("a/b:v1"), None);
        let shown = |text: &str| Layout::parse(text).map(|layout| layout.to_string());
        assert_eq!(
            shown("oci-layout://a:v1@sha256:00").as_deref(),
            Some("oci-layout://a@sha256:00")
        );
    }
}
