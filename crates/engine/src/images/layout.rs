//! OCI image layouts, as directories and as what was found in an archive.
//!
//! Follows image-layout.md of the OCI image specification.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use bld_oci::layout::{IMAGE_NAME, REF_NAME};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Platform, document, media_type};
use bld_store::{ImageRecord, Store};

use super::record;
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// No index or manifest is larger than this.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// Where blobs come from that the store does not have.
pub(super) trait Blobs {
    /// The bytes of a blob, or `None` when it is not there either.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>>;
}

/// A layout in a directory.
pub(super) struct Dir<'a>(pub(super) &'a Path);

impl Blobs for Dir<'_> {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>> {
        let path = bld_oci::layout::blob(self.0, digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("open", &path),
        }
    }
}

/// Everything is in the store already.
pub(super) struct InStore;

impl Blobs for InStore {
    fn open(&self, _digest: &Digest) -> Result<Option<Box<dyn Read>>> {
        Ok(None)
    }
}

/// An image of an index, with the name it has there.
pub(super) struct Entry {
    pub(super) descriptor: Descriptor,
    pub(super) name: Option<String>,
}

/// The images an `index.json` names.
pub(super) fn entries(index: &[u8]) -> Result<Vec<Entry>> {
    let index = document::parse_index(index).map_err(|error| malformed("index.json", &error))?;
    Ok(index
        .manifests()
        .iter()
        .filter(|descriptor| !descriptor.is_attestation())
        .map(|descriptor| Entry { name: name(descriptor), descriptor: descriptor.clone() })
        .collect())
}

/// The full name of an image. The specification's own annotation is one only when it is more than
/// a tag.
fn name(descriptor: &Descriptor) -> Option<String> {
    let full = descriptor.annotation(IMAGE_NAME);
    let short = descriptor.annotation(REF_NAME).filter(|name| name.contains([':', '/']));
    full.or(short).map(str::to_owned)
}

/// Brings the image `descriptor` names, or the one of its index for `platform`, into the store. When no
/// platform was asked for, it is this machine's, or whatever an index of one image is for.
pub(super) fn import(
    store: &Store,
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
) -> Result<ImageRecord> {
    let digest = digest(descriptor)?;
    let bytes = fetch_document(store, blobs, &digest)?;
    if media_type::is_index(descriptor.media_type().as_ref()) {
        let index = document::parse_index(&bytes).map_err(|error| malformed("index", &error))?;
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let images: Vec<_> =
            index.manifests().iter().filter(|image| !image.is_attestation()).collect();
        let chosen = match (wanted.choose(index.manifests()), images.as_slice()) {
            (Some(chosen), _) => chosen,
            (None, [only]) if platform.is_none() => only,
            _ => {
                let found: Vec<_> = Platform::available(index.manifests())
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let found = found.join(", ");
                return Err(EngineError::Archive {
                    problem: format!("index {digest} has no image for {wanted}, only for {found}"),
                });
            }
        };
        return import(store, blobs, chosen, platform);
    }
    let manifest =
        document::parse_manifest(&bytes).map_err(|error| malformed("manifest", &error))?;
    for blob in [manifest.config()].into_iter().chain(manifest.layers()) {
        fetch(store, blobs, &self::digest(blob)?)?;
    }
    store.put_blob(&bytes)?;
    record::from_manifest(store, &bytes)
}

/// Brings all images that `descriptor` names into the store; of an index those that are there, as an archive
/// may have been written for some platforms only.
pub(super) fn import_all(
    store: &Store,
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
) -> Result<Vec<ImageRecord>> {
    let mut images = Vec::new();
    if media_type::is_index(descriptor.media_type().as_ref()) {
        let bytes = fetch_document(store, blobs, &digest(descriptor)?)?;
        let index = document::parse_index(&bytes).map_err(|error| malformed("index", &error))?;
        for image in index.manifests().iter().filter(|image| !image.is_attestation()) {
            if is_there(store, blobs, image)? {
                images.push(import(store, blobs, image, None)?);
            }
        }
    }
    if images.is_empty() {
        images.push(import(store, blobs, descriptor, None)?);
    }
    Ok(images)
}

/// Whether the manifest that `descriptor` names is there, with all blobs.
fn is_there(store: &Store, blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<bool> {
    let has = |descriptor: &Descriptor| -> Result<bool> {
        let digest = digest(descriptor)?;
        Ok(store.has_blob(&digest) || blobs.open(&digest)?.is_some())
    };
    if !has(descriptor)? {
        return Ok(false);
    }
    let bytes = fetch_document(store, blobs, &digest(descriptor)?)?;
    let Ok(manifest) = document::parse_manifest(&bytes) else { return Ok(false) };
    for blob in [manifest.config()].into_iter().chain(manifest.layers()) {
        if !has(blob)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an `index.json` leads to images of several platforms.
pub(super) fn has_index(index: &[u8]) -> bool {
    entries(index).is_ok_and(|entries| {
        entries.iter().any(|one| media_type::is_index(one.descriptor.media_type().as_ref()))
    })
}

fn digest(descriptor: &Descriptor) -> Result<Digest> {
    descriptor.sha256().map_err(|error| EngineError::Archive { problem: error.to_string() })
}

fn malformed(what: &str, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::Archive { problem: format!("{what}: {error}") }
}

fn missing(digest: &Digest) -> EngineError {
    EngineError::Archive { problem: format!("blob {digest} is missing") }
}

/// What `descriptor` describes, if it is there and no larger than it says.
pub(super) fn find(
    store: &Store,
    blobs: &dyn Blobs,
    descriptor: &Descriptor,
) -> Result<Option<Vec<u8>>> {
    let digest = digest(descriptor)?;
    if store.has_blob(&digest) {
        return Ok(Some(store.read_blob(&digest)?));
    }
    let Some(reader) = blobs.open(&digest)? else { return Ok(None) };
    let mut bytes = Vec::new();
    reader.take(descriptor.size()).read_to_end(&mut bytes).at("read blob", digest.to_string())?;
    verified(&digest, bytes).map(Some)
}

/// The index or manifest `digest`.
pub(super) fn fetch_document(store: &Store, blobs: &dyn Blobs, digest: &Digest) -> Result<Vec<u8>> {
    if store.has_blob(digest) {
        return Ok(store.read_blob(digest)?);
    }
    let mut bytes = Vec::new();
    let mut reader = blobs.open(digest)?.ok_or_else(|| missing(digest))?.take(DOCUMENT_LIMIT);
    reader.read_to_end(&mut bytes).at("read blob", digest.to_string())?;
    verified(digest, bytes)
}

fn verified(digest: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if Digest::of(&bytes) == *digest {
        return Ok(bytes);
    }
    Err(EngineError::Archive { problem: format!("blob {digest} is damaged") })
}

fn fetch(store: &Store, blobs: &dyn Blobs, digest: &Digest) -> Result<()> {
    if store.has_blob(digest) {
        return Ok(());
    }
    let mut reader = blobs.open(digest)?.ok_or_else(|| missing(digest))?;
    let mut writer = store.blob_writer()?;
    io::copy(&mut reader, &mut writer).at("copy blob", digest.to_string())?;
    writer.commit(Some(*digest))?;
    Ok(())
}

impl Engine {
    /// Brings an image of the OCI layout in `dir` into the store, without a name. `selector` is its
    /// tag, its name or its digest; without one, the layout must hold exactly one image.
    pub fn import_layout(
        &self,
        dir: &Path,
        selector: Option<&str>,
        platform: &Platform,
    ) -> Result<ImageRecord> {
        let path = dir.join("index.json");
        let index = fs::read(&path).at("read", &path)?;
        let found = entries(&index)?;
        let fits = |entry: &&Entry| match selector {
            None => true,
            Some(wanted) => {
                let descriptor = &entry.descriptor;
                descriptor.digest().as_ref() == wanted
                    || [IMAGE_NAME, REF_NAME].iter().any(|key| {
                        let name = descriptor.annotation(key);
                        name.is_some_and(|name| {
                            name == wanted || name.ends_with(&format!(":{wanted}"))
                        })
                    })
            }
        };
        let fitting: Vec<Descriptor> =
            found.iter().filter(fits).map(|entry| entry.descriptor.clone()).collect();
        let chosen = match fitting.as_slice() {
            [only] => only,
            several => platform.choose(several).ok_or_else(|| EngineError::Archive {
                problem: match (selector, several.len()) {
                    (Some(selector), 0) => format!("{} holds no image {selector}", dir.display()),
                    _ => format!("{} holds {} images: choose one", dir.display(), several.len()),
                },
            })?,
        };
        import(self.store()?, &Dir(dir), chosen, Some(platform))
    }
}
