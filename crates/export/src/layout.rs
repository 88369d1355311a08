//! OCI image layouts: directories that hold blobs and an index of what to start from.
//!
//! Follows image-layout.md of the OCI image specification; the index names images the way
//! containerd and BuildKit do.

use std::fs;
use std::io::Write;
use std::path::Path;

use bld_oci::layout::{self, IMAGE_NAME, MARK, REF_NAME};
use bld_oci::{Digest, Reference, media_type};
use bld_store::Store;
use serde_json::{Value, json};

use crate::archive::ArchiveImage;
use crate::error::ExportError;

/// Writes `images` as an OCI layout into `dir`, made when missing. An image that the layout already
/// holds under one of the names is replaced; others stay. The index is renamed into place last, so
/// a reader never finds an image whose blobs are not there.
pub fn write_layout(store: &Store, images: &[ArchiveImage], dir: &Path) -> Result<(), ExportError> {
    let blobs = layout::blobs(dir);
    fs::create_dir_all(&blobs).map_err(ExportError::io("create", &blobs))?;
    // One writer at a time: the index is read, changed and written. The lock ends with the handle.
    let lock = fs::File::open(dir).map_err(ExportError::io("open", dir))?;
    lock.lock().map_err(ExportError::io("lock", dir))?;
    for digest in images.iter().flat_map(ArchiveImage::blobs) {
        copy_blob(store, &digest, &blobs)?;
    }
    replace(&dir.join("oci-layout"), MARK)?;
    let index = dir.join("index.json");
    let kept = match fs::read(&index) {
        Ok(bytes) => kept_entries(&bytes, images)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(ExportError::io("read", &index)(error)),
    };
    let entries: Vec<Value> = kept.into_iter().chain(entries(images)).collect();
    replace(&index, &encode_index(&entries)?)
}

/// The bytes of an `index.json` over `images`.
pub(crate) fn index_entries(images: &[ArchiveImage]) -> Result<Vec<u8>, ExportError> {
    encode_index(&entries(images))
}

fn encode_index(manifests: &[Value]) -> Result<Vec<u8>, ExportError> {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": manifests,
    });
    serde_json::to_vec(&index).map_err(|error| ExportError::malformed("index.json", error))
}

/// One entry for each name, or one without a name.
fn entries(images: &[ArchiveImage]) -> Vec<Value> {
    let mut entries = Vec::new();
    for image in images {
        let (media_type, digest, size) = image.top();
        let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": size });
        if !image.annotations.is_empty() {
            entry["annotations"] = json!(image.annotations);
        }
        if image.names.is_empty() {
            entries.push(entry.clone());
        }
        for name in &image.names {
            let mut entry = entry.clone();
            let mut all = annotations(name);
            for (key, value) in &image.annotations {
                all[key] = json!(value);
            }
            entry["annotations"] = all;
            entries.push(entry);
        }
    }
    entries
}

fn annotations(name: &Reference) -> Value {
    json!({
        IMAGE_NAME: name.to_string(),
        REF_NAME: name.tag().unwrap_or("latest"),
    })
}

/// What an index that is there already says of other images.
fn kept_entries(index: &[u8], images: &[ArchiveImage]) -> Result<Vec<Value>, ExportError> {
    let index: Value = serde_json::from_slice(index)
        .map_err(|error| ExportError::malformed("the index.json that is there already", error))?;
    let replaced: Vec<String> =
        images.iter().flat_map(|image| image.names.iter().map(ToString::to_string)).collect();
    let digests: Vec<Value> = images.iter().map(|image| json!(image.top().1)).collect();
    let keep = |entry: &&Value| {
        let name = entry["annotations"][IMAGE_NAME].as_str();
        name.map_or(!digests.contains(&entry["digest"]), |name| {
            !replaced.iter().any(|replaced| replaced == name)
        })
    };
    Ok(index["manifests"].as_array().into_iter().flatten().filter(keep).cloned().collect())
}

fn copy_blob(store: &Store, digest: &Digest, blobs: &Path) -> Result<(), ExportError> {
    let target = blobs.join(digest.hex());
    let source = store.blob_path(digest);
    let size = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
    if size(&target).is_ok_and(|found| size(&source).is_ok_and(|wanted| wanted == found)) {
        return Ok(());
    }
    let partial = blobs.join(format!(".{}.partial", digest.hex()));
    // The system copies faster than we could, without showing us the bytes.
    let (copied, verified) =
        rayon::join(|| fs::copy(&source, &partial), || store.verify_blob(digest));
    let copied = verified.map_err(ExportError::from).and_then(|()| {
        copied
            .and_then(|_| fs::rename(&partial, &target))
            .map_err(ExportError::io("write", &target))
    });
    if copied.is_err() {
        // The copy is useless; that it could not be removed as well says nothing new.
        let _ = fs::remove_file(&partial);
    }
    copied
}

/// Writes a file beside its name and renames it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    fs::File::create(partial)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(partial, path))
        .map_err(ExportError::io("write", path))
}
