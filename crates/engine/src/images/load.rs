//! Reading archives of images: those of docker, old and new, podman, skopeo and our own.
//!
//! An archive is read once, front to back, from a file or a pipe: blobs go into the store as they
//! come, and what they are for is decided at the end, when the small documents (`index.json`,
//! `manifest.json`) have been seen.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use bld_event::{Events, Task};
use bld_layer::Format;
use bld_oci::{Descriptor, DescriptorExt as _, Digest, Platform, document, media_type};
use bld_store::{ImageRecord, LayerBlob, Store};
use serde::Deserialize;

use super::layout::{self, Blobs, InStore};
use super::{ensure_unpacked, find, record};
use crate::error::IoContext as _;
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
    /// unpacks it. Of what is there for several platforms, the image for `platform` is taken, or all.
    ///
    /// # Errors
    /// [`EngineError::Archive`] for what is no archive of images, and where nothing is for `platform`.
    pub fn load_images(
        &self,
        input: impl Read + Send + 'static,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<Vec<Loaded>> {
        let store = self.store()?;
        let task = events.task("loading images");
        let contents = Contents::read(store, input);
        let images = contents.and_then(|contents| contents.images(store, platform));
        let loaded = images.and_then(|images| self.enter_loaded(&InStore, images, events, &task));
        Ok(self.announce_loaded(task.finish(loaded)?))
    }

    /// As [`load_images`](Self::load_images), from the OCI layout in `dir`.
    ///
    /// # Errors
    /// As that.
    pub fn load_layout(
        &self,
        dir: &Path,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<Vec<Loaded>> {
        let store = self.store()?;
        let path = dir.join("index.json");
        let index = std::fs::read(&path).at("read", &path)?;
        let task = events.task("loading images");
        let dir = layout::Dir(dir);
        let images = layout_images(store, &dir, &index, platform);
        let loaded = images.and_then(|images| self.enter_loaded(&dir, images, events, &task));
        Ok(self.announce_loaded(task.finish(loaded)?))
    }

    /// Unpacks images and gives them their names.
    fn enter_loaded(
        &self,
        blobs: &dyn Blobs,
        images: Vec<Named>,
        events: &Events,
        task: &Task,
    ) -> Result<Vec<Loaded>> {
        let store = self.store()?;
        let mut loaded = Vec::new();
        let host = Platform::host();
        let is_ours = |image: &&ImageRecord| {
            Platform::parse(&image.platform).is_ok_and(|platform| platform.satisfies(&host))
        };
        for Named { images, names, index } in images {
            for image in &images {
                ensure_unpacked(store, image, events, task.id())?;
            }
            if let Some(index) = index {
                let index = layout::fetch_document(store, blobs, &index)?;
                let mut read = |descriptor: &Descriptor| layout::find(store, blobs, descriptor);
                self.keep_enclosed(&index, &images, &mut read)?;
            }
            let Some(image) = images.iter().find(is_ours).or(images.first()) else { continue };
            let ids: Vec<Digest> = images.iter().map(|image| image.id).collect();
            let mut familiar = Vec::with_capacity(names.len());
            for name in names {
                let reference = find::parse(&name)?;
                match ids.as_slice() {
                    [_] => store.tag(&reference.to_string(), &image.id, None)?,
                    all => store.tag_variants(&reference.to_string(), all, &image.id)?,
                }
                familiar.push(reference.familiar());
            }
            loaded.push(Loaded { id: image.id, names: familiar });
        }
        Ok(loaded)
    }

    fn announce_loaded(&self, loaded: Vec<Loaded>) -> Vec<Loaded> {
        for image in &loaded {
            for name in &image.names {
                self.announce_image("load", &image.id, name);
            }
        }
        loaded
    }
}

/// The images that have the same names, each for its platform.
struct Named {
    images: Vec<ImageRecord>,
    names: Vec<String>,
    /// The index that they came in.
    index: Option<Digest>,
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
    fn images(&self, store: &Store, platform: Option<&Platform>) -> Result<Vec<Named>> {
        match (self.documents.get("manifest.json"), self.documents.get("index.json")) {
            // What docker's document has no place for.
            (_, Some(index)) if layout::has_index(index) => {
                layout_images(store, &InStore, index, platform)
            }
            (Some(manifest), index) => {
                let manifests = match index {
                    Some(index) => manifests_by_config(store, index),
                    None => HashMap::new(),
                };
                let entries: Vec<DockerEntry> = serde_json::from_slice(manifest)
                    .map_err(|error| problem(format!("manifest.json: {error}")))?;
                let images = entries.iter().map(|e| self.docker_image(store, e, &manifests));
                let images: Vec<_> = images.collect::<Result<_>>()?;
                for_platform(images, platform)
            }
            (None, Some(index)) => layout_images(store, &InStore, index, platform),
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
    ) -> Result<Named> {
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
        let images = vec![record::enter(store, &id, manifests.get(&id).copied(), &layers)?];
        Ok(Named { images, names, index: None })
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

/// Those of `images` that are for `platform`, if one was asked for; at least one.
fn for_platform(mut images: Vec<Named>, platform: Option<&Platform>) -> Result<Vec<Named>> {
    let Some(wanted) = platform else { return Ok(images) };
    let found = images.iter().flat_map(|named| &named.images);
    let found: Vec<String> = found.map(|image| image.platform.clone()).collect();
    for named in &mut images {
        named.images.retain(|image| {
            Platform::parse(&image.platform).is_ok_and(|platform| platform.satisfies(wanted))
        });
    }
    images.retain(|named| !named.images.is_empty());
    if images.is_empty() {
        let found = found.join(", ");
        return Err(problem(format!("no image in it is for {wanted}, only for {found}")));
    }
    Ok(images)
}

/// The images of an OCI layout, each with all its names.
fn layout_images(
    store: &Store,
    blobs: &dyn Blobs,
    index: &[u8],
    platform: Option<&Platform>,
) -> Result<Vec<Named>> {
    let mut images: Vec<Named> = Vec::new();
    for (descriptor, name) in choose(layout::entries(index)?, platform) {
        let found = match platform {
            Some(_) => vec![layout::import(store, blobs, &descriptor, platform)?],
            None => layout::import_all(store, blobs, &descriptor)?,
        };
        let is_index = media_type::is_index(descriptor.media_type().as_ref());
        let index = descriptor.sha256().ok().filter(|_| is_index);
        match images.iter_mut().find(|known| known.images == found && known.index == index) {
            Some(known) => known.names.extend(name),
            None => {
                let names = name.into_iter().collect();
                images.push(Named { images: found, names, index });
            }
        }
    }
    for_platform(images, platform)
}

/// One of all that have the same name, each for its platform, as some tools write them instead of
/// an index.
fn choose(
    entries: Vec<layout::Entry>,
    platform: Option<&Platform>,
) -> Vec<(Descriptor, Option<String>)> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    for layout::Entry { descriptor, name } in entries {
        match groups.iter_mut().find(|(known, _)| name.is_some() && *known == name) {
            Some((_, group)) => group.push(descriptor),
            None => groups.push((name, vec![descriptor])),
        }
    }
    let one = |(name, group): (Option<String>, Vec<Descriptor>)| match wanted.choose(&group) {
        Some(chosen) if group.len() > 1 => vec![(chosen.clone(), name)],
        // Without platforms in the index, the last one counts, as with tags.
        _ => group.into_iter().map(|descriptor| (descriptor, name.clone())).collect(),
    };
    groups.into_iter().flat_map(one).collect()
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
