//! Images as OCI archives: one tar that holds an image layout.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use bld_oci::Digest;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes an image of one layer, whose tar is `layer`, as an OCI archive; `name` is its full
/// reference and `command` what it runs.
pub fn write_archive(path: &Path, name: &str, layer: &[u8], command: &[&str]) -> Result<()> {
    write_archives(path, &[(name, layer)], command)
}

/// The same of several images: names and layers.
pub fn write_archives(path: &Path, images: &[(&str, &[u8])], command: &[&str]) -> Result<()> {
    let (mut blobs, mut entries) = (Vec::new(), Vec::new());
    for (name, layer) in images {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(3));
        encoder.write_all(layer)?;
        let blob = encoder.finish()?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": command,
            },
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer).to_string()]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "test base"}],
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &blob)],
        }))?;
        let mut entry = descriptor(MANIFEST, &manifest);
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        entry["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag,
        });
        entries.push(entry);
        blobs.extend([config, manifest, blob]);
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": entries}))?;

    let mut tar = Builder::new(File::create(path)?);
    let mut add = |name: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data)
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add("index.json", &index)?;
    for blob in &blobs {
        add(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob)?;
    }
    Ok(tar.into_inner()?.flush()?)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes).to_string();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image read from an OCI archive, every digest checked.
pub struct Archive {
    /// The manifest.
    pub manifest: Value,
    /// The manifest's digest.
    pub digest: String,
    /// The image configuration.
    pub config: Value,
    /// The files of all layers on top of each other, by their absolute path.
    pub files: BTreeMap<String, Entry>,
    /// Each layer's entries by their name in the tar, lowest layer first.
    pub layers: Vec<Vec<String>>,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// What a file of an image is, and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with its bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(String),
    /// Anything else.
    Other,
}

impl Archive {
    /// Reads the archive's first image.
    pub fn read(path: &Path) -> Result<Self> {
        let mut blobs = BTreeMap::new();
        let mut tar =
            tar::Archive::new(File::open(path).with_context(|| path.display().to_string())?);
        for entry in tar.entries()? {
            let mut entry = entry?;
            let name = normal(&entry.path()?);
            let mut data = Vec::new();
            entry.read_to_end(&mut data)?;
            blobs.insert(name, data);
        }
        Self::from_blobs(|name| blobs.get(name).cloned())
    }

    /// Reads the first image of an image layout directory.
    pub fn read_layout(path: &Path) -> Result<Self> {
        Self::from_blobs(|name| fs::read(path.join(name.trim_start_matches('/'))).ok())
    }

    fn from_blobs(blob: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self> {
        let file = |name: &str| blob(name).with_context(|| format!("no {name} in the image"));
        let by_digest = |descriptor: &Value| -> Result<Vec<u8>> {
            let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
            let bytes = file(&format!("/blobs/{}", digest.replace(':', "/")))?;
            ensure!(Digest::of(&bytes).to_string() == digest, "{digest} holds something else");
            ensure!(descriptor["size"] == bytes.len(), "{digest} has another size");
            Ok(bytes)
        };
        let index: Value = serde_json::from_slice(&file("/index.json")?)?;
        let mut node = index;
        let mut digest = String::new();
        while let Some(child) = node.get("manifests").map(|manifests| manifests[0].clone()) {
            node = serde_json::from_slice(&by_digest(&child)?)?;
            child["digest"].as_str().unwrap_or_default().clone_into(&mut digest);
        }
        let config: Value = serde_json::from_slice(&by_digest(&node["config"])?)?;
        let mut image = Self {
            digest,
            config,
            files: BTreeMap::new(),
            layers: Vec::new(),
            manifest: Value::Null,
        };
        for (n, layer) in node["layers"].as_array().into_iter().flatten().enumerate() {
            let tar = decompress(by_digest(layer)?)?;
            let diff_id = image.config["rootfs"]["diff_ids"][n].as_str().unwrap_or_default();
            ensure!(Digest::of(&tar).to_string() == diff_id, "layer {n} is not {diff_id}");
            image.apply(&tar)?;
        }
        image.manifest = node;
        Ok(image)
    }

    /// Puts one layer on top, with the whiteouts of the OCI layer specification.
    fn apply(&mut self, layer: &[u8]) -> Result<()> {
        let lower: Vec<String> = self.files.keys().cloned().collect();
        let mut names = Vec::new();
        for entry in tar::Archive::new(layer).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            names.push(path.to_string_lossy().into_owned());
            let name = normal(&path);
            let (parent, base) = name.rsplit_once('/').unwrap_or(("", &name));
            if base == ".wh..wh..opq" {
                self.remove_below(parent, &lower);
                continue;
            }
            if let Some(gone) = base.strip_prefix(".wh.") {
                let gone = format!("{parent}/{gone}");
                self.remove_below(&gone, &lower);
                self.files.remove(&gone);
                continue;
            }
            let target = || -> Result<String> {
                Ok(entry
                    .link_name()?
                    .context("a link has a target")?
                    .to_string_lossy()
                    .into_owned())
            };
            let kind = match entry.header().entry_type() {
                EntryType::Directory => Kind::Directory,
                EntryType::Symlink => Kind::Symlink(target()?),
                EntryType::Link => {
                    let target = normal(Path::new(&target()?));
                    let linked = self.files.get(&target);
                    linked.with_context(|| format!("{name} links to {target}"))?.kind.clone()
                }
                EntryType::Regular => {
                    let mut data = Vec::new();
                    entry.read_to_end(&mut data)?;
                    Kind::File(data)
                }
                _ => Kind::Other,
            };
            if kind != Kind::Directory {
                self.remove_below(&name, &lower);
            }
            let header = entry.header();
            let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()?);
            let (uid, gid) = (header.uid()?, header.gid()?);
            self.files.insert(name, Entry { kind, mode, uid, gid, mtime });
        }
        self.layers.push(names);
        Ok(())
    }

    fn remove_below(&mut self, directory: &str, lower: &[String]) {
        let prefix = format!("{directory}/");
        for name in lower.iter().filter(|name| name.starts_with(&prefix)) {
            self.files.remove(name);
        }
    }

    /// The text of a regular file.
    ///
    /// # Panics
    /// When there is no regular file of that name.
    pub fn text(&self, path: &str) -> String {
        match self.files.get(path).map(|entry| &entry.kind) {
            Some(Kind::File(data)) => String::from_utf8_lossy(data).into_owned(),
            other => panic!("{path} is {other:?}"),
        }
    }
}

fn normal(path: &Path) -> String {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
    }
    normal.to_string_lossy().into_owned()
}

fn decompress(blob: Vec<u8>) -> Result<Vec<u8>> {
    if blob.starts_with(&[0x1f, 0x8b]) {
        let mut tar = Vec::new();
        GzDecoder::new(blob.as_slice()).read_to_end(&mut tar)?;
        return Ok(tar);
    }
    if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&blob)?;
        let output = std::process::Command::new("zstd").arg("-dqc").arg(file.path()).output()?;
        ensure!(output.status.success(), "zstd can't decompress a layer");
        return Ok(output.stdout);
    }
    Ok(blob)
}
