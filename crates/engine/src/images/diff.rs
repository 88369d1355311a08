//! How two images differ: configuration, layers, files, and the lines of text files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use bld_event::Events;
use bld_layer::{Aspect, Difference, Kind, LayerError, Node, Times, View};
use bld_oci::{Digest, ImageConfig, Reference};
use bld_store::{ImageRecord, Lease, StoreError};
use serde_json::Value;
use similar::{Algorithm, DiffOp, TextDiff};

use super::details::{layer_sizes, layers_of};
use super::find;
use crate::{Engine, EngineError, Result};

mod document;

pub use document::DiffDocument;

/// An image with all that can be compared of it. Its files stay in the store as long as this lives.
#[derive(Debug)]
pub struct ImageContents {
    /// The record in the store.
    pub record: ImageRecord,
    /// The name it was found by; none when that was an id.
    pub name: Option<Reference>,
    /// The configuration, as it was read.
    pub config: Value,
    /// The manifest, if it came with one.
    pub manifest: Option<Value>,
    /// Its layers, the lowest first.
    pub layers: Vec<ImageLayer>,
    /// Its files.
    pub files: View,
    _held: Lease,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of that archive.
    pub size: u64,
    /// The instruction that made it, as the history tells; empty without one.
    pub created_by: String,
}

/// What is compared, and how much of the difference is told.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// Leave the configuration out.
    pub ignore_config: bool,
    /// Leave the times out that the configuration names.
    pub ignore_created: bool,
    /// Leave the list of layers out.
    pub ignore_layers: bool,
    /// Leave these aspects of files out.
    pub ignore_aspects: Vec<Aspect>,
    /// Compare text files line by line.
    pub text: Option<TextOptions>,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            ignore_config: false,
            ignore_created: false,
            ignore_layers: false,
            ignore_aspects: Vec::new(),
            text: Some(TextOptions::default()),
        }
    }
}

/// How text files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Lines that are the same, around those that are not.
    pub context: usize,
    /// Files of more bytes are not compared line by line.
    pub max_size: u64,
    /// Lines that are told of one file.
    pub max_lines: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { context: 3, max_size: 1 << 20, max_lines: 1000 }
    }
}

/// How two images differ.
#[derive(Debug, Clone, Default)]
pub struct ImageDiff {
    /// Fields of the configuration, and of the manifests if both came with one.
    pub fields: Vec<FieldChange>,
    /// All layers of both, in order.
    pub layers: Vec<LayerChange>,
    /// Files.
    pub files: Vec<FileChange>,
}

impl ImageDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
            && self.files.is_empty()
            && self.layers.iter().all(|layer| matches!(layer, LayerChange::Same { .. }))
    }
}

/// A field that two images do not agree on.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Where it is, e.g. `config.Env.PATH` or `history[2].created_by`.
    pub path: String,
    /// What the first image has; none when it has no such field.
    pub before: Option<Value>,
    /// What the second image has.
    pub after: Option<Value>,
}

/// What became of a layer. Numbers are places in the two lists of layers, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerChange {
    /// Both have it.
    Same {
        /// In the first.
        before: usize,
        /// In the second.
        after: usize,
    },
    /// There is another in its place.
    Replaced {
        /// In the first.
        before: usize,
        /// In the second.
        after: usize,
    },
    /// Only the first has it.
    Removed {
        /// In the first.
        before: usize,
    },
    /// Only the second has it.
    Added {
        /// In the second.
        after: usize,
    },
}

impl LayerChange {
    /// Where the layer is in the first image, and in the second.
    pub fn places(self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::Same { before, after } | Self::Replaced { before, after } => {
                (Some(before), Some(after))
            }
            Self::Removed { before } => (Some(before), None),
            Self::Added { after } => (None, Some(after)),
        }
    }
}

/// A file that differs.
#[derive(Debug, Clone)]
pub struct FileChange {
    /// Where, and what of it.
    pub difference: Difference,
    /// The lines that differ, if it was asked for them and the bytes differ.
    pub text: Option<TextChange>,
}

/// How the bytes of a file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextChange {
    /// One of them is no text.
    Binary {
        /// How many bytes are the same before the first that is not.
        same: usize,
    },
    /// One of them has more bytes than are compared line by line.
    TooLarge,
    /// The hunks of a unified diff, without a header.
    Unified {
        /// The lines, each with its end.
        hunks: String,
        /// How many more there would be.
        omitted: usize,
    },
}

impl Engine {
    /// The image `name` for [`diff_images`]. It is unpacked if it is not yet.
    pub fn image_contents(&self, name: &str, events: &Events) -> Result<ImageContents> {
        let found = find::find(self, name)?;
        self.contents_of(found.record, found.reference, events)
    }

    /// An image for [`diff_images`], which need not be in the store if all it is made of is.
    pub(crate) fn contents_of(
        &self,
        record: ImageRecord,
        name: Option<Reference>,
        events: &Events,
    ) -> Result<ImageContents> {
        let store = self.store()?;
        let bytes = store.read_blob(&record.id)?;
        let malformed = |source| EngineError::Config { image: record.id, source };
        let config: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        let history = ImageConfig::parse(&bytes).map_err(malformed)?.history;
        // A manifest only says how the image travelled: without it, that is not compared.
        let manifest = record.manifest.filter(|digest| store.has_blob(digest));
        let manifest = manifest.map(|digest| store.read_blob(&digest)).transpose()?;
        let manifest = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let snapshot = self.unpack_image(&record, events)?;
        let held = store.lease();
        if !held.hold(snapshot)? {
            return Err(StoreError::MissingSnapshot { id: snapshot }.into());
        }
        let record = ImageRecord { snapshot: Some(snapshot), ..record };
        Ok(ImageContents {
            layers: layers_of(&record, &history, &layer_sizes(store, &record)?),
            files: View::new(store.layers(snapshot)?),
            record,
            name,
            config,
            manifest,
            _held: held,
        })
    }
}

/// How `after` differs from `before`. They may lie in different stores.
///
/// Times of files are compared to the second, as layers record them.
///
/// # Errors
/// When files cannot be read.
pub fn diff_images(
    before: &ImageContents,
    after: &ImageContents,
    options: &DiffOptions,
) -> Result<ImageDiff> {
    if before.record.id == after.record.id && before.record.manifest == after.record.manifest {
        // Two images of one id are the same to the last byte.
        let layers = (0..before.layers.len()).map(|n| LayerChange::Same { before: n, after: n });
        return Ok(ImageDiff { layers: layers.collect(), ..ImageDiff::default() });
    }
    let mut diff = ImageDiff::default();
    if !options.ignore_config {
        diff.fields = fields(before, after);
        let is_time = |path: &str| {
            path == "created" || (path.starts_with("history[") && path.ends_with("].created"))
        };
        diff.fields.retain(|field| !(options.ignore_created && is_time(&field.path)));
    }
    if !options.ignore_layers {
        diff.layers = layers(&before.layers, &after.layers);
    }
    let unreadable = |source| EngineError::Tree { path: PathBuf::from("/"), source };
    let files = bld_layer::differences(&before.files, &after.files, Times::Seconds);
    for mut difference in files.map_err(unreadable)? {
        let both = difference.before.is_some() && difference.after.is_some();
        difference.aspects.retain(|aspect| !options.ignore_aspects.contains(aspect));
        if both && difference.aspects.is_empty() {
            continue;
        }
        let text = options.text.map(|options| text_of(before, after, &difference, options));
        let text = text.transpose().map_err(unreadable)?.flatten();
        diff.files.push(FileChange { difference, text });
    }
    Ok(diff)
}

/// The fields of configurations and manifests that differ, but for layers.
fn fields(before: &ImageContents, after: &ImageContents) -> Vec<FieldChange> {
    let mut found = changed_fields("", &before.config, &after.config);
    if found.is_empty() && before.record.id != after.record.id && before.config == after.config {
        // They say the same in other bytes.
        let id = |image: &ImageContents| Some(image.record.id.to_string().into());
        let path = "(bytes of the configuration)".to_owned();
        found.push(FieldChange { path, before: id(before), after: id(after) });
    }
    if let (Some(before), Some(after)) = (&before.manifest, &after.manifest) {
        found.extend(changed_fields("manifest", before, after));
    }
    found
}

/// One part of the path to a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Name(String),
    Index(usize),
}

/// A path to a field. Names with dots are quoted, so that a path is never ambiguous.
struct Path<'a>(&'a [Part]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.iter().enumerate() {
            match part {
                Part::Index(index) => write!(f, "[{index}]")?,
                Part::Name(name) if name.contains(['.', '[', '"', ' ']) || name.is_empty() => {
                    write!(f, "[{name:?}]")?;
                }
                Part::Name(name) => write!(f, "{}{name}", if n == 0 { "" } else { "." })?,
            }
        }
        Ok(())
    }
}

/// The fields of two documents that differ; with `prefix` in front of their paths.
fn changed_fields(prefix: &str, before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut fields: [BTreeMap<Vec<Part>, Value>; 2] = Default::default();
    for (fields, document) in fields.iter_mut().zip([before, after]) {
        let mut path = Vec::new();
        if !prefix.is_empty() {
            path.push(Part::Name(prefix.to_owned()));
        }
        flatten(&mut path, document, fields);
    }
    let [before, after] = fields;
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes: Vec<FieldChange> = Vec::new();
    for path in paths {
        let (before, after) = (before.get(path), after.get(path));
        let Some(name) = path.last() else { continue };
        // The order of variables counts only where nothing else of them does.
        let is_order = *name == Part::Name(ORDER.to_owned());
        let list = &path[..path.len() - usize::from(is_order)];
        let shown = Path(list).to_string();
        let is_below = |change: &FieldChange| {
            change.path.strip_prefix(&shown).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        let is_told = is_order && changes.iter().any(is_below);
        if before != after && !is_told {
            changes.push(FieldChange {
                path: shown,
                before: before.cloned(),
                after: after.cloned(),
            });
        }
    }
    changes
}

/// Stands for the order of a list of variables. It is sorted behind every name a variable can have.
const ORDER: &str = "\u{10ffff}";

/// Documents whose lists are told by what is in them, not as a whole: `NAME=value`, and objects.
fn flatten(path: &mut Vec<Part>, value: &Value, fields: &mut BTreeMap<Vec<Part>, Value>) {
    // Layers are told as such, and the configuration of a manifest by its fields.
    const ELSEWHERE: [&[&str]; 3] =
        [&["rootfs", "diff_ids"], &["manifest", "layers"], &["manifest", "config"]];
    let is = |names: &[&str]| {
        let named = |(part, name): (&Part, &&str)| *part == Part::Name((*name).to_owned());
        path.len() == names.len() && path.iter().zip(names).all(named)
    };
    if ELSEWHERE.iter().any(|names| is(names)) {
        return;
    }
    let is_env = matches!(path.last(), Some(Part::Name(name)) if name == "Env");
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                path.push(Part::Name(name.clone()));
                flatten(path, value, fields);
                path.pop();
            }
        }
        Value::Array(entries) if is_env && entries.iter().all(Value::is_string) => {
            for entry in entries.iter().filter_map(Value::as_str) {
                let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                path.push(Part::Name(name.to_owned()));
                fields.insert(path.clone(), value.into());
                path.pop();
            }
            path.push(Part::Name(ORDER.to_owned()));
            fields.insert(path.clone(), value.clone());
            path.pop();
        }
        Value::Array(entries) if entries.iter().any(Value::is_object) => {
            for (index, value) in entries.iter().enumerate() {
                path.push(Part::Index(index));
                flatten(path, value, fields);
                path.pop();
            }
        }
        value => _ = fields.insert(path.clone(), value.clone()),
    }
}

/// What became of every layer.
fn layers(before: &[ImageLayer], after: &[ImageLayer]) -> Vec<LayerChange> {
    let ids = |layers: &[ImageLayer]| layers.iter().map(|l| l.diff_id).collect::<Vec<_>>();
    let ops = similar::capture_diff_slices(Algorithm::Myers, &ids(before), &ids(after));
    let mut changes = Vec::new();
    for op in ops {
        let (old, new) = (op.old_range(), op.new_range());
        let both = old.len().min(new.len());
        for (before, after) in old.clone().zip(new.clone()) {
            changes.push(match op {
                DiffOp::Equal { .. } => LayerChange::Same { before, after },
                _ => LayerChange::Replaced { before, after },
            });
        }
        changes.extend(old.skip(both).map(|before| LayerChange::Removed { before }));
        changes.extend(new.skip(both).map(|after| LayerChange::Added { after }));
    }
    changes
}

/// How the lines of a file differ whose bytes do.
fn text_of(
    before: &ImageContents,
    after: &ImageContents,
    difference: &Difference,
    options: TextOptions,
) -> Result<Option<TextChange>, LayerError> {
    let (Some(one), Some(other)) = (&difference.before, &difference.after) else {
        return Ok(None);
    };
    if !difference.aspects.contains(&Aspect::Contents) {
        return Ok(None);
    }
    if one.meta.size.max(other.meta.size) > options.max_size {
        return Ok(Some(TextChange::TooLarge));
    }
    let one = read(&before.files, one, options.max_size)?;
    let other = read(&after.files, other, options.max_size)?;
    Ok(Some(match (text(&one), text(&other)) {
        (Some(one), Some(other)) => unified(one, other, options),
        _ => {
            TextChange::Binary { same: one.iter().zip(&other).take_while(|(a, b)| a == b).count() }
        }
    }))
}

/// UTF-8 without a NUL.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn read(view: &View, node: &Node, limit: u64) -> Result<Vec<u8>, LayerError> {
    debug_assert_eq!(node.meta.kind, Kind::File);
    let mut bytes = Vec::new();
    view.open(node)?.take(limit).read_to_end(&mut bytes).map_err(|source| LayerError::Io {
        action: "read",
        path: node.path.clone(),
        source,
    })?;
    Ok(bytes)
}

fn unified(before: &str, after: &str, options: TextOptions) -> TextChange {
    // What takes longer is told as fewer, larger hunks.
    let diff = TextDiff::configure().timeout(Duration::from_secs(2)).diff_lines(before, after);
    let all = diff.unified_diff().context_radius(options.context).to_string();
    let mut lines = all.split_inclusive('\n');
    let hunks = lines.by_ref().take(options.max_lines).collect();
    TextChange::Unified { hunks, omitted: lines.count() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let value = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
        let line = |change: &FieldChange| {
            let [before, after] = [&change.before, &change.after].map(value);
            format!(
                "{}: {} -> {}",
                change.path,
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        };
        changed_fields("", before, after).iter().map(line).collect()
    }

    #[test]
    fn fields_are_told_one_by_one() {
        let before = json!({
            "created": "1", "rootfs": {"type": "layers", "diff_ids": ["a"]},
            "config": {"Env": ["A=1", "B=2"], "Cmd": ["sh"], "Labels": {"a.b": "x", "c": "y"}},
            "history": [{"created_by": "x"}, {"created_by": "y", "empty_layer": true}],
        });
        let after = json!({
            "created": "1", "rootfs": {"type": "layers", "diff_ids": ["b"]},
            "config": {"Env": ["A=1", "C=2", "B=3=4"], "Cmd": ["sh", "-c"], "Labels": {"a.b": "z"}},
            "history": [{"created_by": "x"}, {"created_by": "z", "empty_layer": true}],
        });
        assert_eq!(
            told(&before, &after),
            [
                r#"config.Cmd: ["sh"] -> ["sh","-c"]"#,
                r#"config.Env.B: "2" -> "3=4""#,
                r#"config.Env.C:  -> "2""#,
                r#"config.Labels["a.b"]: "x" -> "z""#,
                r#"config.Labels.c: "y" -> "#,
                r#"history[1].created_by: "y" -> "z""#,
            ]
        );
    }

    #[test]
    fn the_order_of_variables_is_told_when_it_is_all() {
        let (before, after) = (json!({"Env": ["A=1", "B=2"]}), json!({"Env": ["B=2", "A=1"]}));
        assert_eq!(told(&before, &after), [r#"Env: ["A=1","B=2"] -> ["B=2","A=1"]"#]);
        assert!(told(&before, &before).is_empty());
    }

    #[test]
    fn layers_are_aligned() {
        let layer =
            |n: u8| ImageLayer { diff_id: Digest::of(&[n]), size: 0, created_by: String::new() };
        let list = |ids: &[u8]| ids.iter().map(|&n| layer(n)).collect::<Vec<_>>();
        assert_eq!(
            layers(&list(&[1, 2, 3]), &list(&[1, 4, 3, 5])),
            [
                LayerChange::Same { before: 0, after: 0 },
                LayerChange::Replaced { before: 1, after: 1 },
                LayerChange::Same { before: 2, after: 2 },
                LayerChange::Added { after: 3 },
            ]
        );
        assert_eq!(layers(&list(&[1]), &[]), [LayerChange::Removed { before: 0 }]);
    }

    #[test]
    fn long_differences_are_cut() {
        let lines: String = (0..100).map(|n| n.to_string() + "\n").collect();
        let options = TextOptions { max_lines: 3, ..TextOptions::default() };
        let TextChange::Unified { hunks, omitted } = unified("", &lines, options) else {
            unreachable!("both are text")
        };
        assert_eq!((hunks.as_str(), omitted), ("@@ -0,0 +1,100 @@\n+0\n+1\n", 98));
        let TextChange::Unified { hunks, omitted } = unified("a\nb", "a\nc\n", options) else {
            unreachable!("both are text")
        };
        assert_eq!((hunks.lines().count(), omitted > 0), (3, true));
    }
}
