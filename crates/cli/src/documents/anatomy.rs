//! `image inspect --layers --files`

use bld_engine::images::{
    Amount, ImageAnatomy, LargeFile, LayerAnatomy, LayerEffect, LayerEntry, WastefulPath,
};
use bld_layer::shown;
use serde::Serialize;

/// An image, taken apart.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    id: String,
    name: String,
    layers: Vec<Layer>,
    visible: Count,
    wasted_bytes: u64,
    largest: Vec<Large>,
    wasted: Vec<Wasted>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Layer {
    index: usize,
    #[serde(rename = "DiffID")]
    diff_id: String,
    created_by: String,
    size: u64,
    compressed_size: Option<u64>,
    added: Count,
    replaced: Count,
    removed: Count,
    hidden_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Count {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    path: String,
    change: &'static str,
    r#type: &'static str,
    size: u64,
    hides_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Large {
    path: String,
    size: u64,
    layer: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wasted {
    path: String,
    bytes: u64,
    layers: Vec<usize>,
}

/// The document of the image `name`; with what is at every path if `files`.
pub(crate) fn document(name: &str, anatomy: &ImageAnatomy, files: bool) -> Document {
    let layers = anatomy.layers.iter().enumerate();
    Document {
        id: anatomy.record.id.to_string(),
        name: name.to_owned(),
        layers: layers.map(|(index, layer)| self::layer(index, layer, files)).collect(),
        visible: count(anatomy.visible),
        wasted_bytes: anatomy.wasted,
        largest: anatomy.largest.iter().map(large).collect(),
        wasted: anatomy.worst.iter().map(wasted).collect(),
    }
}

fn layer(index: usize, layer: &LayerAnatomy, files: bool) -> Layer {
    Layer {
        index: index + 1,
        diff_id: layer.layer.diff_id.to_string(),
        created_by: layer.layer.created_by.clone(),
        size: layer.layer.size,
        compressed_size: layer.compressed,
        added: count(layer.added),
        replaced: count(layer.replaced),
        removed: count(layer.removed),
        hidden_bytes: layer.hidden,
        files: files.then(|| layer.entries.iter().map(file).collect()),
    }
}

fn count(amount: Amount) -> Count {
    Count { files: amount.files, bytes: amount.bytes }
}

fn file(entry: &LayerEntry) -> File {
    File {
        path: shown(&entry.path),
        change: match entry.change {
            LayerEffect::Adds => "added",
            LayerEffect::Replaces => "replaced",
            LayerEffect::Removes => "removed",
            LayerEffect::RemovesNothing => "nothing-removed",
        },
        r#type: entry.kind.name(),
        size: entry.size,
        hides_bytes: entry.hides,
    }
}

fn large(file: &LargeFile) -> Large {
    Large { path: shown(&file.path), size: file.size, layer: file.layer + 1 }
}

fn wasted(waste: &WastefulPath) -> Wasted {
    Wasted {
        path: shown(&waste.path),
        bytes: waste.wasted,
        layers: waste.layers.iter().map(|layer| layer + 1).collect(),
    }
}
