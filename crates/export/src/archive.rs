//! One tar that both OCI tools and `docker load` read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use bld_oci::{Digest, Hasher, Reference};
use bld_store::Store;
use serde_json::{Map, Value, json};

use crate::error::ExportError;
use crate::index::Index;
use crate::layout::index_entries;
use crate::manifest::Manifest;

/// Tars consist of blocks of so many bytes.
const BLOCK: u64 = 512;
/// Bytes of a blob that are copied at a time.
const COPIED: usize = 1 << 20;

/// An image and the names it has in the archive.
#[derive(Debug, Clone)]
pub struct ArchiveImage {
    /// The manifest, in the store with all it names; of several platforms, the one for readers that
    /// know no index.
    pub manifest: Manifest,
    /// The index, where there are several platforms.
    pub index: Option<Index>,
    /// The names; none gives an image without a name.
    pub names: Vec<Reference>,
    /// Annotations of what leads to the image, besides those that name it.
    pub annotations: BTreeMap<String, String>,
}

impl ArchiveImage {
    /// The blobs it consists of, those that name others behind them.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        match &self.index {
            None => self.manifest.blobs().collect(),
            Some(index) => {
                let named = index.manifests.iter().flat_map(Manifest::blobs);
                named.chain([index.digest]).collect()
            }
        }
    }

    /// Media type, digest and size of what leads to all of it.
    pub(crate) fn top(&self) -> (&str, Digest, usize) {
        let Manifest { media_type, digest, bytes, .. } = &self.manifest;
        match &self.index {
            None => (media_type, *digest, bytes.len()),
            Some(index) => (&index.media_type, index.digest, index.bytes.len()),
        }
    }
}

/// Writes `images` as an OCI layout in a tar. With `docker`, the files that `docker load` wants
/// (`manifest.json`, `repositories`) are there as well, about the same blobs.
pub fn write_archive(
    store: &Store,
    images: &[ArchiveImage],
    docker: bool,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut tar = tar::Builder::new(out);
    let mut written = BTreeSet::new();
    directory(&mut tar, "blobs/")?;
    directory(&mut tar, "blobs/sha256/")?;
    for image in images {
        for digest in image.blobs() {
            if written.insert(digest) {
                blob(&mut tar, store, &digest)?;
            }
        }
    }
    bytes(&mut tar, "index.json", &index_entries(images)?)?;
    if docker {
        bytes(&mut tar, "manifest.json", &encode(&docker_manifest(images))?)?;
    }
    bytes(&mut tar, "oci-layout", bld_oci::layout::MARK)?;
    if docker {
        bytes(&mut tar, "repositories", &encode(&repositories(images))?)?;
    }
    tar.finish().map_err(stream)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn docker_manifest(images: &[ArchiveImage]) -> Value {
    images
        .iter()
        .map(|image| {
            json!({
                "Config": blob_name(&image.manifest.config.digest),
                "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": image.manifest.layers.iter().map(|l| blob_name(&l.digest)).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Repository to tag to the topmost layer, as the oldest readers want it.
fn repositories(images: &[ArchiveImage]) -> Value {
    let mut repositories = Map::new();
    for image in images {
        let Some(top) = image.manifest.layers.last() else { continue };
        for name in &image.names {
            let Some(tag) = name.tag() else { continue };
            let tags = repositories.entry(name.familiar_name()).or_insert_with(|| json!({}));
            tags[tag] = json!(top.digest.hex());
        }
    }
    Value::Object(repositories)
}

fn encode(value: &Value) -> Result<Vec<u8>, ExportError> {
    serde_json::to_vec(value).map_err(|error| ExportError::malformed("the archive's index", error))
}

fn stream(source: io::Error) -> ExportError {
    ExportError::Io { action: "write", path: "the archive".into(), source }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn directory(tar: &mut tar::Builder<&mut dyn Write>, name: &str) -> Result<(), ExportError> {
    let mut header = header(tar::EntryType::Directory, 0o755, 0);
    tar.append_data(&mut header, name, io::empty()).map_err(stream)
}

/// Copies a blob, in larger pieces than [`tar::Builder`] would, and verifies it unless it was only just
/// written.
fn blob(
    tar: &mut tar::Builder<&mut dyn Write>,
    store: &Store,
    digest: &Digest,
) -> Result<(), ExportError> {
    let path = store.blob_path(digest);
    let failed = || ExportError::io("read", &path);
    let mut file = store.open_blob(digest)?;
    let size = file.metadata().map_err(failed())?.len();
    let mut header = header(tar::EntryType::Regular, 0o644, size);
    header.set_path(blob_name(digest)).map_err(stream)?;
    header.set_cksum();
    let out = tar.get_mut();
    out.write_all(header.as_bytes()).map_err(stream)?;
    let mut hasher = (!store.has_written(digest)).then(Hasher::new);
    let (mut buffer, mut left) = (vec![0; COPIED], size);
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = &mut buffer[..wanted];
        file.read_exact(piece).map_err(failed())?;
        let written = match &mut hasher {
            None => out.write_all(piece),
            Some(hasher) => rayon::in_place_scope(|scope| {
                scope.spawn(|_| hasher.update(piece));
                out.write_all(piece)
            }),
        };
        written.map_err(stream)?;
        left -= wanted as u64;
    }
    if let Some(hasher) = hasher {
        store.verify(digest, hasher.finish())?;
    }
    let padding = size.next_multiple_of(BLOCK) - size;
    out.write_all(&[0; BLOCK as usize][..padding as usize]).map_err(stream)
}

fn bytes(
    tar: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    data: &[u8],
) -> Result<(), ExportError> {
    let mut header = header(tar::EntryType::Regular, 0o644, data.len() as u64);
    tar.append_data(&mut header, name, data).map_err(stream)
}
