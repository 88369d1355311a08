//! How two images differ, as `diff --format json` and the API of `bld ui` tell it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_layer::{Kind, Node, shown};
use serde::Serialize;
use serde_json::Value;

use super::{
    FieldChange, FileChange, ImageContents, ImageDiff, ImageLayer, LayerChange, TextChange,
};

/// The differences of two images as a document, in the spelling of docker's `inspect`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiffDocument {
    before: Image,
    after: Image,
    same: bool,
    fields: Vec<Field>,
    layers: Vec<Layer>,
    files: Vec<File>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    name: Option<String>,
    platform: String,
    digest: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Field {
    path: String,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Layer {
    status: &'static str,
    before: Option<LayerOf>,
    after: Option<LayerOf>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LayerOf {
    index: usize,
    #[serde(rename = "DiffID")]
    diff_id: String,
    size: u64,
    created_by: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    path: String,
    status: &'static str,
    changed: Vec<&'static str>,
    before: Option<Entry>,
    after: Option<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text>,
}

/// Everything an image holds of a file but its bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    r#type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mod_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Text {
    /// `unified`, `binary` or `large`.
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    diff: String,
    #[serde(skip_serializing_if = "is_zero")]
    omitted_lines: usize,
    /// Of what is no text, how many bytes are the same before the first that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_bytes: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl DiffDocument {
    /// The document of a comparison: the two images, and what [`diff_images`](super::diff_images) found.
    pub fn new((before, after): (&ImageContents, &ImageContents), diff: &ImageDiff) -> Self {
        let layer = |change: &LayerChange| layer(&before.layers, &after.layers, *change);
        Self {
            before: image(before),
            after: image(after),
            same: diff.is_empty(),
            fields: diff.fields.iter().map(field).collect(),
            layers: diff.layers.iter().map(layer).collect(),
            files: diff.files.iter().map(file).collect(),
        }
    }

    /// Leaves out all files but the one that is shown as `path`.
    pub fn retain_file(&mut self, path: &str) {
        self.files.retain(|file| file.path == path);
    }
}

fn image(image: &ImageContents) -> Image {
    Image {
        id: image.record.id.to_string(),
        name: image.name.as_ref().map(bld_oci::Reference::familiar),
        platform: image.record.platform.clone(),
        digest: image.record.manifest.map(|digest| digest.to_string()),
    }
}

fn field(change: &FieldChange) -> Field {
    Field { path: change.path.clone(), before: change.before.clone(), after: change.after.clone() }
}

fn layer(before: &[ImageLayer], after: &[ImageLayer], change: LayerChange) -> Layer {
    let status = match change {
        LayerChange::Same { .. } => "same",
        LayerChange::Replaced { .. } => "replaced",
        LayerChange::Removed { .. } => "removed",
        LayerChange::Added { .. } => "added",
    };
    let (one, other) = change.places();
    let of = |layers: &[ImageLayer], index: Option<usize>| {
        let layer = layers.get(index?)?;
        Some(LayerOf {
            index: index? + 1,
            diff_id: layer.diff_id.to_string(),
            size: layer.size,
            created_by: layer.created_by.clone(),
        })
    };
    Layer { status, before: of(before, one), after: of(after, other) }
}

fn file(change: &FileChange) -> File {
    let difference = &change.difference;
    File {
        path: shown(&difference.path),
        status: match (&difference.before, &difference.after) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "changed",
        },
        changed: difference.aspects.iter().map(|aspect| aspect.name()).collect(),
        before: difference.before.as_ref().map(entry),
        after: difference.after.as_ref().map(entry),
        text: change.text.as_ref().map(text),
    }
}

fn text(change: &TextChange) -> Text {
    let (diff, omitted_lines, same_bytes) = (String::new(), 0, None);
    match change {
        TextChange::Binary { same } => {
            Text { kind: "binary", diff, omitted_lines, same_bytes: Some(*same) }
        }
        TextChange::TooLarge => Text { kind: "large", diff, omitted_lines, same_bytes },
        TextChange::Unified { hunks, omitted } => {
            Text { kind: "unified", diff: hunks.clone(), omitted_lines: *omitted, same_bytes }
        }
    }
}

fn entry(node: &Node) -> Entry {
    let meta = &node.meta;
    let time = jiff::Timestamp::new(meta.mtime, 0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let is_device = matches!(meta.kind, Kind::CharDevice | Kind::BlockDevice);
    // What cannot be read any more was read a moment ago, to be compared.
    let xattrs = node.xattrs().unwrap_or_default().into_iter();
    Entry {
        r#type: meta.kind.name(),
        mode: format!("{:04o}", meta.mode),
        uid: meta.uid,
        gid: meta.gid,
        size: if meta.kind == Kind::File { meta.size } else { 0 },
        mod_time: time.to_string(),
        target: (meta.kind == Kind::Symlink).then(|| shown(node.link_target().unwrap_or_default())),
        device: is_device.then(|| format!("{}:{}", meta.rdev.0, meta.rdev.1)),
        xattrs: xattrs.map(|(name, value)| (shown(name), STANDARD.encode(value))).collect(),
    }
}
