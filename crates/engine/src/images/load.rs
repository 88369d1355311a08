//! Reading archives of images: those of docker, old and new, podman, skopeo and our own.
//!
//! An archive is read once, front to back, from a file or a pipe: blobs go into the store as they
//! come, and what they are for is decided at the end, when the small documents (`index.json`,
//! `manifest.json`) have been seen.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use bld_event::Events;
use bld_layer::Format;
use bld_oci::{DescriptorExt as _, Digest, Platform, document, media_type};
use bld_store::{ImageRecord, LayerBlob, Store};
use serde::Deserialize;

use super::layout::{self, InStore};
use super::{ensure_unpacked, find, record};
use crate::{Engine, EngineError, Result};

/// Documents larger than this are layers, whatever they are called.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names it was given, in their short form.
    pub names: Vec<String>,
}

impl Engine {
    /// Brings every image of the archive `input`, which may be compressed, into the store and
    /// unpacks it.
    pub fn load_images(
        &self,
        input: impl Read + Send + 'static,
        events: &Events,
    ) -> Result<Vec<Loaded>> {
        let store = self.store()?;
        let task = events.task("loading images");
        let result = (|| {
            let contents = Contents::read(store, input)?;
            let mut loaded = Vec::new();
            for (image, names) in contents.images(store)? {
                ensure_unpacked(store, &image, events, task.id())?;
                let mut familiar = Vec::with_capacity(names.len());
                for name in names {
                    let reference = find::parse(&name)?;
                    store.tag(&reference.to_string(), &image.id, None)?;
                    familiar.push(reference.familiar());
                }
                loaded.push(Loaded { id: image.id, names: familiar });
            }
            Ok(loaded)
        })();
        task.finish(result)
    }
}

/// An entry of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What was found in an archive.
#[derive(Default)]
struct Contents {
    /// Small files by name.
    documents: HashMap<String, Vec<u8>>,
    /// Blobs by name, as they are in the store now.
    blobs: HashMap<String, (Digest, u64)>,
    /// Links by name, to the full name of what they stand for.
    links: HashMap<String, String>,
}

fn problem(problem: impl Into<String>) -> EngineError {
    EngineError::Archive { problem: problem.into() }
}

fn unreadable(error: &io::Error) -> EngineError {
    problem(error.to_string())
}

impl Contents {
    fn read(store: &Store, input: impl Read + Send + 'static) -> Result<Self> {
        let input = bld_layer::decoder(input).map_err(|error| unreadable(&error))?;
        let mut contents = Self::default();
        let mut archive = tar::Archive::new(input);
        for entry in archive.entries().map_err(|error| unreadable(&error))? {
            let mut entry = entry.map_err(|error| unreadable(&error))?;
            let name = clean(&entry.path().map_err(|error| unreadable(&error))?.to_string_lossy());
            match entry.header().entry_type() {
                kind if kind.is_file() || kind.is_contiguous() => {
                    contents.take(store, name, &mut entry)?;
                }
                kind if kind.is_symlink() || kind.is_hard_link() => {
                    let target = entry.link_name().map_err(|error| unreadable(&error))?;
                    let target =
                        target.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
                    let full = match name.rsplit_once('/') {
                        Some((dir, _)) if kind.is_symlink() => clean(&format!("{dir}/{target}")),
                        _ => clean(&target),
                    };
                    contents.links.insert(name, full);
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    fn take(
        &mut self,
        store: &Store,
        name: String,
        entry: &mut (impl Read + EntrySize),
    ) -> Result<()> {
        let promised =
            name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}").parse());
        let is_json = Path::new(&name).extension().is_some_and(|extension| extension == "json");
        let is_document = is_json || matches!(name.as_str(), "oci-layout" | "repositories");
        match promised {
            None if is_document && entry.size() <= DOCUMENT_LIMIT => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
                self.documents.insert(name, bytes);
            }
            promised => {
                let expected = promised
                    .transpose()
                    .map_err(|_| problem(format!("{name} is not named by a digest")))?;
                let mut writer = store.blob_writer()?;
                io::copy(entry, &mut writer).map_err(|error| unreadable(&error))?;
                let stored = writer.commit(expected)?;
                self.blobs.insert(name, stored);
            }
        }
        Ok(())
    }

    /// The images, each with the names it is to get.
    fn images(&self, store: &Store) -> Result<Vec<(ImageRecord, Vec<String>)>> {
        match (self.documents.get("manifest.json"), self.documents.get("index.json")) {
            (Some(manifest), index) => {
                let manifests = match index {
                    Some(index) => manifests_by_config(store, index),
                    None => HashMap::new(),
                };
                let entries: Vec<DockerEntry> = serde_json::from_slice(manifest)
                    .map_err(|error| problem(format!("manifest.json: {error}")))?;
                entries.iter().map(|entry| self.docker_image(store, entry, &manifests)).collect()
            }
            (None, Some(index)) => layout_images(store, index),
            (None, None) => {
                Err(problem("it holds neither manifest.json nor index.json: not an image archive"))
            }
        }
    }

    fn docker_image(
        &self,
        store: &Store,
        entry: &DockerEntry,
        manifests: &HashMap<Digest, Digest>,
    ) -> Result<(ImageRecord, Vec<String>)> {
        let id = match self.documents.get(&clean(&entry.config)) {
            Some(config) => store.put_blob(config)?,
            None => self.blob(&entry.config)?.0,
        };
        let names = entry.repo_tags.clone().unwrap_or_default();
        let mut layers = Vec::new();
        for name in entry.layers.iter().flatten() {
            let (digest, size) = self.blob(name)?;
            layers.push(LayerBlob {
                digest,
                size,
                media_type: layer_type(store, &digest)?.to_owned(),
            });
        }
        Ok((record::enter(store, &id, manifests.get(&id).copied(), &layers)?, names))
    }

    /// The blob of that name, behind any number of links.
    fn blob(&self, name: &str) -> Result<(Digest, u64)> {
        let mut name = clean(name);
        for _ in 0..=self.links.len() {
            if let Some(blob) = self.blobs.get(&name) {
                return Ok(*blob);
            }
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        Err(problem(format!("manifest.json names {name}, which is not there")))
    }
}

/// The images of an OCI layout, each with all its names.
fn layout_images(store: &Store, index: &[u8]) -> Result<Vec<(ImageRecord, Vec<String>)>> {
    let host = Platform::host();
    let mut images: Vec<(ImageRecord, Vec<String>)> = Vec::new();
    for entry in layout::entries(index)? {
        let image = layout::import(store, &InStore, &entry.descriptor, &host)?;
        match images.iter_mut().find(|(known, _)| known.id == image.id) {
            Some((_, names)) => names.extend(entry.name),
            None => images.push((image, entry.name.into_iter().collect())),
        }
    }
    Ok(images)
}

/// How much of an entry is left to read.
trait EntrySize {
    fn size(&self) -> u64;
}

impl<R: Read> EntrySize for tar::Entry<'_, R> {
    fn size(&self) -> u64 {
        tar::Entry::size(self)
    }
}

/// Newer archives hold the manifests too: from the digest of each configuration to its manifest.
fn manifests_by_config(store: &Store, index: &[u8]) -> HashMap<Digest, Digest> {
    let entries = layout::entries(index).unwrap_or_default();
    let manifest = |digest: Digest| -> Option<(Digest, Digest)> {
        let parsed = document::parse_manifest(&store.read_blob(&digest).ok()?).ok()?;
        Some((parsed.config().sha256().ok()?, digest))
    };
    entries.iter().filter_map(|entry| manifest(entry.descriptor.sha256().ok()?)).collect()
}

/// The media type of a layer that nobody has told us, by its first bytes.
fn layer_type(store: &Store, digest: &Digest) -> Result<&'static str> {
    let mut prefix = Vec::new();
    let mut file = store.open_blob(digest)?.take(16);
    file.read_to_end(&mut prefix).map_err(|error| unreadable(&error))?;
    match bld_layer::detect(&prefix) {
        None => Ok(media_type::OCI_LAYER),
        Some(Format::Gzip) => Ok(media_type::OCI_LAYER_GZIP),
        Some(Format::Zstd) => Ok(media_type::OCI_LAYER_ZSTD),
        Some(other) => Err(problem(format!("layer {digest} is compressed as {other:?}"))),
    }
}

/// A name in the archive without `.`, `..` and double slashes.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        assert_eq!(clean("./blobs//sha256/ab"), "blobs/sha256/ab");
        assert_eq!(clean("abc/../def/layer.tar"), "def/layer.tar");
    }

    #[test]
    fn links_are_followed_and_loops_end() {
        let blob = (Digest::of(b"x"), 1);
        let contents = Contents {
            blobs: HashMap::from([("a/layer.tar".to_owned(), blob)]),
            links: HashMap::from([
                ("b/layer.tar".to_owned(), "a/layer.tar".to_owned()),
                ("c".to_owned(), "d".to_owned()),
                ("d".to_owned(), "c".to_owned()),
            ]),
            ..Contents::default()
        };
        assert_eq!(contents.blob("./b/layer.tar").ok(), Some(blob));
        assert!(contents.blob("c").is_err());
    }
}
