//! What a cache says, and BuildKit's document of it.
//!
//! BuildKit's document has layers, each on a parent, and records: a digest of an operation, what its
//! inputs may be (other records, several of which may be the same thing), and the layer that is its
//! result. `bld` follows a step by its own definition and content keys, which are in the field `bld`
//! of a record. The links are written all the same: they say to BuildKit what depends on what.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use bld_oci::{Descriptor, DescriptorExt as _, Digest, descriptor, json};
use bld_store::{CacheName, LayerBlob};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::CacheError;

/// The media type of a document.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The media type of the archive of a cache mount.
const MOUNT_TYPE: &str = "application/vnd.bld.cachemount.v1.tar+zstd";

/// The largest document that is read, bytes. BuildKit reads no more than a mebibyte.
pub const MAX_SIZE: u64 = 64 << 20;

/// Annotations of the descriptor of a layer.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";
const CREATED: &str = "buildkit/createdat";

/// Results of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// The layers of all results.
    pub layers: Vec<Layer>,
    /// The results.
    pub records: Vec<Record>,
    /// Cache mounts that steps used.
    pub mounts: Vec<Mount>,
}

/// The files of a cache mount, as `bld cache export` writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What names it.
    #[serde(flatten)]
    pub name: CacheName,
    /// Digest of the archive.
    pub blob: Digest,
    /// Its size, bytes.
    pub size: u64,
}

impl Mount {
    /// The archive, described as layers are.
    pub fn blob(&self) -> LayerBlob {
        LayerBlob { digest: self.blob, size: self.size, media_type: MOUNT_TYPE.to_owned() }
    }
}

/// A layer, on top of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its blob.
    pub blob: LayerBlob,
    /// Digest of its uncompressed archive.
    pub diff_id: Digest,
    /// The layer that it lies on, by its place in [`Cache::layers`].
    pub parent: Option<usize>,
    /// When it was made.
    pub created: Option<SystemTime>,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The step's definition key.
    pub definition: Digest,
    /// Digest of its operation alone.
    pub op: Digest,
    /// What it consumed, in order.
    pub inputs: Vec<Input>,
    /// Digest of the content of the result, if known.
    pub content: Option<Digest>,
    /// The topmost layer of the result, by its place in [`Cache::layers`].
    pub layer: usize,
    /// When it was made.
    pub created: SystemTime,
}

/// What a step consumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is to the step.
    pub name: String,
    /// Its definition key.
    pub definition: Digest,
    /// Digest of the content that was consumed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

/// What was found in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What `bld` can use of it.
    pub cache: Cache,
    /// Results of other builders, whose keys are none of ours.
    pub foreign: usize,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Config {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<ConfigLayer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    records: Vec<ConfigRecord>,
    /// What BuildKit does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "bldMounts")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigLayer {
    blob: String,
    /// Go leaves a zero out.
    #[serde(default, skip_serializing_if = "is_zero")]
    parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<LayerAnnotations>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerAnnotations {
    #[serde(default)]
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    created_at: String,
}

/// A record of a document.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConfigRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "layers")]
    results: Vec<ConfigResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chains: Vec<ConfigChain>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Vec<ConfigInput>>,
    /// What BuildKit does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bld: Option<Own>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigResult {
    layer: i64,
    created_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigChain {
    layers: Vec<i64>,
    created_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConfigInput {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    selector: String,
    link: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    definition: Digest,
    op: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Input>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Digest>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Cache {
    /// The document, for places that have descriptors of the layers beside it.
    ///
    /// # Errors
    /// When a time cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CacheError> {
        self.write(false)
    }

    /// The document with all there is to say of the layers in it.
    ///
    /// # Errors
    /// When a time cannot be written.
    pub fn to_bytes_alone(&self) -> Result<Vec<u8>, CacheError> {
        self.write(true)
    }

    fn write(&self, annotated: bool) -> Result<Vec<u8>, CacheError> {
        let annotations = |layer: &Layer| LayerAnnotations {
            media_type: layer.blob.media_type.clone(),
            diff_id: layer.diff_id.to_string(),
            size: layer.blob.size,
            created_at: rfc3339(layer.created.unwrap_or(SystemTime::UNIX_EPOCH))
                .unwrap_or_default(),
        };
        let layers = self.layers.iter().map(|layer| ConfigLayer {
            blob: layer.blob.digest.to_string(),
            parent: layer.parent.map_or(-1, |parent| parent as i64),
            annotations: annotated.then(|| annotations(layer)),
        });
        let (records, mounts) = (self.config_records()?, self.mounts.clone());
        let config = Config { layers: layers.collect(), records, mounts };
        json::to_canonical(&config).map_err(|error| CacheError::malformed("the cache", error))
    }

    /// The records, linked with one another and with records of what has no result here.
    pub(crate) fn config_records(&self) -> Result<Vec<ConfigRecord>, CacheError> {
        let mut places: HashMap<Digest, i64> = HashMap::new();
        for (index, record) in self.records.iter().enumerate() {
            places.entry(record.definition).or_insert(index as i64);
        }
        let mut records = Vec::with_capacity(self.records.len());
        let mut roots = Vec::new();
        let mut link = |digest: Digest| {
            let next = (self.records.len() + roots.len()) as i64;
            let link = *places.entry(digest).or_insert_with(|| {
                roots.push(ConfigRecord {
                    results: Vec::new(),
                    chains: Vec::new(),
                    digest: digest.to_string(),
                    inputs: Vec::new(),
                    bld: None,
                });
                next
            });
            ConfigInput { selector: String::new(), link }
        };
        for record in &self.records {
            let inputs = record.inputs.iter().map(|input| {
                let either = [Some(input.definition), input.content];
                either.into_iter().flatten().map(&mut link).collect()
            });
            let layer = record.layer as i64;
            records.push(ConfigRecord {
                inputs: inputs.collect(),
                results: vec![ConfigResult { layer, created_at: rfc3339(record.created)? }],
                chains: Vec::new(),
                digest: record.op.to_string(),
                bld: Some(Own {
                    definition: record.definition,
                    op: record.op,
                    inputs: record.inputs.clone(),
                    content: record.content,
                }),
            });
        }
        records.append(&mut roots);
        Ok(records)
    }

    /// Reads a document. `descriptors` are those of the layers, for documents that do not have them.
    ///
    /// # Errors
    /// When it is no such document.
    pub fn parse(bytes: &[u8], descriptors: &[Descriptor]) -> Result<Parsed, CacheError> {
        let config: Config = serde_json::from_slice(bytes)
            .map_err(|error| CacheError::malformed("the cache", error))?;
        let described: HashMap<&str, &Descriptor> = descriptors
            .iter()
            .map(|descriptor| (descriptor.digest().as_ref(), descriptor))
            .collect();
        let layers = config.layers.iter().map(|layer| {
            let described = described.get(layer.blob.as_str()).copied();
            (described.and_then(of_descriptor).or_else(|| of_annotations(layer)), layer.parent)
        });
        let mut parsed = assemble(layers.collect(), config.records);
        parsed.cache.mounts = config.mounts;
        Ok(parsed)
    }

    /// All blobs that it needs, each once: those of layers and of cache mounts.
    pub fn blobs(&self) -> Vec<LayerBlob> {
        let layers = self.layers.iter().map(|layer| layer.blob.clone());
        let mut seen = HashSet::new();
        let mut all: Vec<_> = layers.chain(self.mounts.iter().map(Mount::blob)).collect();
        all.retain(|blob| seen.insert(blob.digest));
        all
    }

    /// A layer and all it lies on, lowest first, by their places in [`Cache::layers`].
    pub fn line(&self, layer: usize) -> Vec<usize> {
        let mut line = Vec::new();
        let mut next = Some(layer).filter(|&layer| layer < self.layers.len());
        // A parent comes before what lies on it, so this ends.
        while let Some(layer) = next {
            line.push(layer);
            next = self.layers[layer].parent;
        }
        line.reverse();
        line
    }
}

impl Layer {
    /// The descriptor of its blob, annotated as BuildKit does.
    pub fn descriptor(&self) -> Descriptor {
        let LayerBlob { digest, size, media_type } = &self.blob;
        let mut described = descriptor(media_type, *digest, *size);
        let mut annotations = HashMap::new();
        annotations.insert(UNCOMPRESSED.to_owned(), self.diff_id.to_string());
        if let Some(Ok(created)) = self.created.map(rfc3339) {
            annotations.insert(CREATED.to_owned(), created);
        }
        described.set_annotations(Some(annotations));
        described
    }
}

/// Makes a cache of layers, each with the index of its parent, and records. What refers to layers that
/// cannot be used is left out.
pub(crate) fn assemble(layers: Vec<(Option<Layer>, i64)>, records: Vec<ConfigRecord>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut places: Vec<Option<usize>> = vec![None; layers.len()];
    // Parents first, whatever the order they come in; what is left is a loop or lies on nothing.
    let mut waiting: Vec<(usize, Layer, i64)> = layers
        .into_iter()
        .enumerate()
        .filter_map(|(index, (layer, parent))| Some((index, layer?, parent)))
        .collect();
    loop {
        let before = waiting.len();
        let mut later = Vec::new();
        for (index, mut layer, parent) in waiting {
            let place = usize::try_from(parent).ok().and_then(|p| places.get(p).copied().flatten());
            if parent >= 0 && place.is_none() {
                later.push((index, layer, parent));
                continue;
            }
            layer.parent = place;
            places[index] = Some(parsed.cache.layers.len());
            parsed.cache.layers.push(layer);
        }
        waiting = later;
        if waiting.is_empty() || waiting.len() == before {
            break;
        }
    }
    for record in records {
        let Some(own) = record.bld else {
            parsed.foreign += usize::from(!record.results.is_empty() || !record.chains.is_empty());
            continue;
        };
        let result = record.results.first();
        let layer = result
            .and_then(|result| usize::try_from(result.layer).ok())
            .and_then(|layer| places.get(layer).copied().flatten());
        let created = result.and_then(|result| time(&result.created_at));
        if let (Some(layer), Some(created)) = (layer, created) {
            let Own { definition, op, inputs, content } = own;
            parsed.cache.records.push(Record { definition, op, inputs, content, layer, created });
        }
    }
    parsed
}

fn of_descriptor(descriptor: &Descriptor) -> Option<Layer> {
    let blob = LayerBlob {
        digest: descriptor.sha256().ok()?,
        size: descriptor.size(),
        media_type: descriptor.media_type().to_string(),
    };
    let diff_id = descriptor.annotation(UNCOMPRESSED)?.parse().ok()?;
    let created = descriptor.annotation(CREATED).and_then(time);
    Some(Layer { blob, diff_id, parent: None, created })
}

fn of_annotations(layer: &ConfigLayer) -> Option<Layer> {
    let about = layer.annotations.as_ref()?;
    Some(Layer {
        blob: LayerBlob {
            digest: layer.blob.parse().ok()?,
            size: about.size,
            media_type: about.media_type.clone(),
        },
        diff_id: about.diff_id.parse().ok()?,
        parent: None,
        created: time(&about.created_at),
    })
}

fn rfc3339(time: SystemTime) -> Result<String, CacheError> {
    Timestamp::try_from(time)
        .map(|time| time.to_string())
        .map_err(|error| CacheError::malformed("the time of a result", error))
}

pub(crate) fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}
