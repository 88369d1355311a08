//! Caches in a directory: an OCI layout.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use bld_oci::document::parse_index;
use bld_oci::layout::{MARK, REF_NAME, blob, blobs};
use bld_oci::{Descriptor, DescriptorExt as _, Digest, media_type};
use serde_json::{Value, json};

use crate::CacheError;
use crate::manifest::{self, Found, Written};

/// Whether the blob is there, as far as its size tells.
pub fn has_blob(dir: &Path, digest: &Digest, size: u64) -> bool {
    fs::metadata(blob(dir, digest)).is_ok_and(|file| file.is_file() && file.len() == size)
}

/// Nobody else writes to the layout while this lives.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    _lock: File,
}

impl Writer {
    /// Opens the layout, made when missing, and waits for others who write to it.
    ///
    /// # Errors
    /// [`CacheError::Io`]
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let blobs = blobs(dir);
        fs::create_dir_all(&blobs).map_err(CacheError::io("create", &blobs))?;
        let lock = File::open(dir).map_err(CacheError::io("open", dir))?;
        lock.lock().map_err(CacheError::io("lock", dir))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Copies a blob from the file `from`, which is known to hold it.
    ///
    /// # Errors
    /// [`CacheError::Io`]
    pub fn copy(&self, digest: &Digest, from: &Path) -> Result<(), CacheError> {
        let to = blob(&self.dir, digest);
        let partial = partial(&to);
        let copied = fs::copy(from, &partial).and_then(|_| fs::rename(&partial, &to));
        copied.map_err(|error| {
            // Useless; that it could not be removed as well says nothing new.
            let _ = fs::remove_file(&partial);
            CacheError::io("write", &to)(error)
        })
    }

    /// Writes the manifest, lets `tag` lead to it, and with `prune` removes the blobs that nothing in the
    /// layout leads to any more.
    ///
    /// # Errors
    /// [`CacheError::Io`], [`CacheError::Malformed`] when there is an index that is none.
    pub fn finish(self, written: &Written, tag: &str, prune: bool) -> Result<(), CacheError> {
        self.write_blob(&written.config_digest, &written.config)?;
        self.write_blob(&written.digest, &written.bytes)?;
        replace(&self.dir.join("oci-layout"), MARK)?;
        let path = self.dir.join("index.json");
        let mut entries: Vec<Value> = match fs::read(&path) {
            Ok(bytes) => {
                let index: Value = serde_json::from_slice(&bytes)
                    .map_err(|error| CacheError::malformed(path.display().to_string(), error))?;
                index["manifests"].as_array().cloned().unwrap_or_default()
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(CacheError::io("read", &path)(error)),
        };
        entries.retain(|entry| name_of(entry) != Some(tag));
        entries.push(json!({
            "mediaType": written.media_type,
            "digest": written.digest,
            "size": written.bytes.len(),
            "annotations": { REF_NAME: tag },
        }));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries,
        });
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| CacheError::malformed("index.json", error))?;
        replace(&path, &bytes)?;
        if prune { self.prune(&bytes) } else { Ok(()) }
    }

    fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), CacheError> {
        replace(&blob(&self.dir, digest), bytes)
    }

    /// Removes what the index does not lead to. Where that cannot be found out, nothing is removed.
    fn prune(&self, index: &[u8]) -> Result<(), CacheError> {
        let mut kept = HashSet::new();
        if !self.reach(index, true, &mut kept) {
            return Ok(());
        }
        let blobs = blobs(&self.dir);
        let entries = fs::read_dir(&blobs).map_err(CacheError::io("list", &blobs))?;
        for entry in entries {
            let entry = entry.map_err(CacheError::io("list", &blobs))?;
            let name = entry.file_name();
            // What is no blob is not ours, but for what a process that died has left.
            let name = name.to_string_lossy();
            let is_unused = Digest::from_hex(&name).is_ok_and(|digest| !kept.contains(&digest));
            if is_unused || (name.starts_with('.') && name.ends_with(".partial")) {
                let path = entry.path();
                fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Collects what a manifest or index leads to; whether all of it could be read.
    fn reach(&self, bytes: &[u8], is_index: bool, kept: &mut HashSet<Digest>) -> bool {
        let descriptors = match manifest::read(bytes, is_index) {
            Ok(Found::Cache { config, layers } | Found::Image { config, layers }) => {
                layers.into_iter().chain([config]).collect::<Vec<_>>()
            }
            Ok(Found::Images(all)) => all,
            Err(_) => return false,
        };
        descriptors.iter().all(|descriptor| {
            let Ok(digest) = descriptor.sha256() else { return false };
            let is_new = kept.insert(digest);
            let kind = descriptor.media_type().as_ref();
            let is_index = media_type::is_index(kind);
            if !is_new || !(is_index || media_type::is_manifest(kind)) {
                return true;
            }
            match fs::read(blob(&self.dir, &digest)) {
                Ok(bytes) => self.reach(&bytes, is_index, kept),
                // It leads to nothing that could be removed.
                Err(error) => error.kind() == ErrorKind::NotFound,
            }
        })
    }
}

/// The descriptor of the manifest called `tag`, or the one with the digest.
///
/// # Errors
/// [`CacheError::NotFound`], and what reading meets.
pub fn find(dir: &Path, tag: &str, digest: Option<Digest>) -> Result<Descriptor, CacheError> {
    let path = dir.join("index.json");
    let not_found = || CacheError::NotFound {
        name: digest.map_or_else(|| tag.to_owned(), |digest| digest.to_string()),
        place: dir.display().to_string(),
    };
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(not_found()),
        read => read.map_err(CacheError::io("read", &path))?,
    };
    let index = parse_index(&bytes)
        .map_err(|error| CacheError::malformed(path.display().to_string(), error))?;
    let fits = |entry: &&Descriptor| match digest {
        Some(digest) => entry.sha256() == Ok(digest),
        None => entry.annotation(REF_NAME) == Some(tag),
    };
    index.manifests().iter().find(fits).cloned().ok_or_else(not_found)
}

/// Reads a small blob, and verifies it.
///
/// # Errors
/// [`CacheError::Io`], [`CacheError::Malformed`] when it is not what its name says.
pub fn read_blob(dir: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, CacheError> {
    let digest = descriptor.sha256().map_err(|e| CacheError::malformed("a descriptor", e))?;
    let path = blob(dir, &digest);
    let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
    if Digest::of(&bytes) == digest {
        return Ok(bytes);
    }
    Err(CacheError::malformed(path.display().to_string(), "its bytes have another digest"))
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// Writes a file beside its name and renames it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let partial = partial(path);
    File::create(&partial)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(CacheError::io("write", path))
}
