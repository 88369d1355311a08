//! `inspect --layers --files`: what the layers of an image hold.

use std::fmt::Write as _;

use bld_engine::images::{ImageAnatomy, LayerAnatomy, LayerEffect, LayerEntry};
use bld_event::Events;
use bld_layer::shown;
use serde_json::Value;

use crate::documents::anatomy::document;
use crate::error::Failure;
use crate::output::{table, units};
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options as TemplateOptions, Template};

/// How many files are named as the largest, and as the most wasteful.
const TOP: usize = 10;

/// Widest instruction of the table.
const INSTRUCTION: usize = 60;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Show what each layer of an image adds, replaces and removes, and what is wasted
    #[arg(long)]
    layers: bool,
    /// Show what each layer of an image does to which file
    #[arg(long)]
    files: bool,
}

impl Options {
    pub(super) fn is_wanted(&self) -> bool {
        self.layers || self.files
    }
}

/// Shows the layers of all images `names`: as tables, as one list in JSON, or each by the template.
pub(super) fn run(
    options: &Options,
    format: Option<&str>,
    names: &[String],
    session: &Session,
) -> Outcome {
    let template = match format {
        None | Some("" | "json" | "table") => None,
        Some(format) => Some(Template::parse(format).map_err(Failure::unreadable)?),
    };
    let mut documents: Vec<Value> = Vec::new();
    let mut shown = 0;
    let code = session.try_each(names, |name| {
        let anatomy = session.engine.image_anatomy(name, TOP, &Events::none())?;
        if format.is_some_and(|format| !matches!(format, "" | "table")) {
            let document = document(name, &anatomy, options.files);
            documents.push(serde_json::to_value(document).map_err(|error| {
                Failure::new(format!("the layers of {name} cannot be told: {error}"))
            })?);
            return Ok(());
        }
        let mut text = String::new();
        if names.len() > 1 {
            let gap = if shown > 0 { "\n" } else { "" };
            text = format!("{gap}{name}:\n");
        }
        shown += 1;
        if options.layers {
            text += &layers(&anatomy);
        }
        if options.files {
            if options.layers {
                text.push('\n');
            }
            text += &files(&anatomy);
        }
        session.print(&text)
    })?;
    match (&template, format) {
        (Some(template), _) => {
            let options = TemplateOptions { missing: Missing::Error, ..TemplateOptions::default() };
            for document in &documents {
                session.say(&template.render(document, &options)?)?;
            }
        }
        (None, Some("json")) => session.say(&format!("{:#}", Value::from(documents)))?,
        (None, _) => {}
    }
    Ok(code)
}

/// The table of layers, what is wasted, and the largest files.
fn layers(anatomy: &ImageAnatomy) -> String {
    let headings =
        ["LAYER", "SIZE", "COMPRESSED", "ADDED", "REPLACED", "REMOVED", "HIDDEN", "CREATED BY"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for (index, layer) in anatomy.layers.iter().enumerate() {
        rows.push(row(index, layer));
    }
    let mut text = table::align(&rows);
    let carried = anatomy.visible.bytes + anatomy.wasted;
    let percent = (anatomy.wasted * 100).checked_div(carried).unwrap_or(0);
    let _infallible = write!(
        text,
        "\n{} in {} files are seen; {} more, {percent}% of all, are hidden by later layers.\n",
        units::size(anatomy.visible.bytes, 3),
        anatomy.visible.files,
        units::size(anatomy.wasted, 3),
    );
    if !anatomy.worst.is_empty() {
        let mut rows = vec![["HIDDEN", "LAYERS", "PATH"].map(str::to_owned).to_vec()];
        rows.extend(anatomy.worst.iter().map(|waste| {
            let layers: Vec<_> = waste.layers.iter().map(|layer| (layer + 1).to_string()).collect();
            vec![units::size(waste.wasted, 3), layers.join(","), shown(&waste.path)]
        }));
        text += "\n";
        text += &table::align(&rows);
    }
    if !anatomy.largest.is_empty() {
        let mut rows = vec![["LARGEST", "LAYER", "PATH"].map(str::to_owned).to_vec()];
        rows.extend(anatomy.largest.iter().map(|file| {
            vec![units::size(file.size, 3), (file.layer + 1).to_string(), shown(&file.path)]
        }));
        text += "\n";
        text += &table::align(&rows);
    }
    text
}

fn row(index: usize, layer: &LayerAnatomy) -> Vec<String> {
    let amount = |amount: bld_engine::images::Amount| match amount.files {
        0 => "-".to_owned(),
        files => format!("{files} ({})", units::size(amount.bytes, 3)),
    };
    let made = instruction(layer);
    let made = if made.chars().count() > INSTRUCTION {
        made.chars().take(INSTRUCTION - 1).chain(['…']).collect()
    } else {
        made
    };
    vec![
        (index + 1).to_string(),
        units::size(layer.layer.size, 3),
        layer.compressed.map_or_else(|| "-".to_owned(), |size| units::size(size, 3)),
        amount(layer.added),
        amount(layer.replaced),
        amount(layer.removed),
        if layer.hidden == 0 { "-".to_owned() } else { units::size(layer.hidden, 3) },
        made,
    ]
}

/// What made a layer, on one line.
fn instruction(layer: &LayerAnatomy) -> String {
    shown(layer.layer.created_by.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Every layer with what it does to which file.
fn files(anatomy: &ImageAnatomy) -> String {
    let mut text = String::new();
    for (index, layer) in anatomy.layers.iter().enumerate() {
        let made = instruction(layer);
        let gap = if index > 0 { "\n" } else { "" };
        let _infallible = writeln!(text, "{gap}Layer {}: {made}", index + 1);
        for entry in &layer.entries {
            let _infallible = writeln!(text, "  {}", line(entry));
        }
    }
    text
}

fn line(entry: &LayerEntry) -> String {
    let letter = match entry.change {
        LayerEffect::Adds => 'A',
        LayerEffect::Replaces => 'C',
        LayerEffect::Removes | LayerEffect::RemovesNothing => 'D',
    };
    let mut notes = Vec::new();
    match entry.change {
        LayerEffect::RemovesNothing => notes.push("was not there".to_owned()),
        LayerEffect::Adds | LayerEffect::Replaces if entry.kind == bld_layer::Kind::File => {
            notes.push(units::size(entry.size, 3));
        }
        _ => notes.push(entry.kind.name().to_owned()),
    }
    if entry.hides > 0 {
        notes.push(format!("hides {}", units::size(entry.hides, 3)));
    }
    format!("{letter} {} ({})", shown(&entry.path), notes.join(", "))
}
