//! `bld diff`: what a container changed, and how two images differ.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use bld_engine::EngineError;
use bld_engine::images::{
    DiffDocument, DiffOptions, FileChange, ImageContents, ImageDiff, ImageLayer, LayerChange,
    TextChange, TextOptions, diff_images,
};
use bld_event::Events;
use bld_layer::{Aspect, Change, Kind, Node, harmless, shown};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::output::{table, units};
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options as TemplateOptions, Template};

/// Exit code of a comparison that could not be made, as that of diff(1).
const TROUBLE: u8 = 2;

/// Show what a container changed of its image, or how two images differ
///
/// Of a container, every path that was added (A), changed (C) or deleted (D).
///
/// Of two images, the fields of their configurations, their layers, their files with what of each differs,
/// and the lines of text files. The exit code is 0 when they are the same, 1 when they differ and 2 when
/// they could not be compared.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    #[arg(required = true, num_args = 1..=2, value_names = ["CONTAINER|IMAGE", "IMAGE"])]
    names: Vec<String>,
}

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Format output: 'json'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    #[arg(value_name = "CONTAINER")]
    name: String,
}

/// Show how two images differ
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    options: Options,
    #[arg(required = true, num_args = 2, value_names = ["IMAGE", "IMAGE"])]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Format output using a custom template: 'text', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show differences of text files of any size whole
    #[arg(long)]
    full: bool,
    /// Leave out: config, created, layers, mode, owner, time, xattrs, links
    #[arg(long, value_name = "list", value_delimiter = ',', hide_possible_values = true)]
    ignore: Vec<Ignored>,
    /// Don't compare text files line by line
    #[arg(long)]
    no_text: bool,
    /// Print nothing: the exit code says it
    #[arg(short, long)]
    quiet: bool,
    /// Lines around those that differ (default 3)
    #[arg(short = 'U', long, value_name = "int")]
    unified: Option<usize>,
}

impl Options {
    /// Whether anything was asked for that is of no use with a container.
    fn is_about_images(&self) -> bool {
        let Self { format: _, full, ignore, no_text, quiet, unified } = self;
        *full || *no_text || *quiet || !ignore.is_empty() || unified.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ignored {
    Config,
    Created,
    Layers,
    Mode,
    Owner,
    Time,
    Xattrs,
    Links,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    match args.names.as_slice() {
        [before, after] => compare(session, &args.options, before, after),
        [_] if args.options.is_about_images() => Err(Failure::new(
            "--full, --ignore, --no-text, --quiet and --unified are for two images: bld diff IMAGE IMAGE",
        )),
        [name] => changed(session, args.options.format.as_deref(), name),
        _ => Err(Failure::new("a container or two images are needed")),
    }
}

pub(crate) fn container(args: &ContainerArgs, session: &Session) -> Outcome {
    changed(session, args.format.as_deref(), &args.name)
}

pub(crate) fn images(args: &ImageArgs, session: &Session) -> Outcome {
    match args.names.as_slice() {
        [before, after] => compare(session, &args.options, before, after),
        _ => Err(Failure::new("two images are needed").with_code(TROUBLE)),
    }
}

fn changed(session: &Session, format: Option<&str>, name: &str) -> Outcome {
    let changes = session.engine.container_changes(name).map_err(|error| {
        let is_image = matches!(error, EngineError::NoSuchContainer { .. })
            && session.engine.find_image(name).is_ok();
        let failure = Failure::from(error);
        if is_image {
            failure.with_hint(format!("{name} is an image: bld diff IMAGE IMAGE compares two"))
        } else {
            failure
        }
    })?;
    match format {
        None | Some("" | "text") => {
            let letter = |change: &Change| match change {
                Change::Added => 'A',
                Change::Changed => 'C',
                Change::Deleted => 'D',
            };
            let line = |(path, change)| format!("{} {}\n", letter(change), shown(path));
            session.print(
                &changes.iter().map(|(path, change)| line((path, change))).collect::<String>(),
            )?;
        }
        Some("json") => {
            // The numbers of docker's API.
            let number = |change: &Change| match change {
                Change::Changed => 0,
                Change::Added => 1,
                Change::Deleted => 2,
            };
            let entries: Vec<Value> = changes
                .iter()
                .map(|(path, change)| json!({"Kind": number(change), "Path": shown(path)}))
                .collect();
            session.say(&Value::from(entries).to_string())?;
        }
        Some(other) => {
            return Err(Failure::new(format!("unknown format {other:?}: use text or json")));
        }
    }
    Ok(0)
}

fn compare(session: &Session, options: &Options, before: &str, after: &str) -> Outcome {
    let compare = || -> Outcome {
        let template = match options.format.as_deref() {
            None | Some("" | "text" | "json") => None,
            Some(format) => Some(Template::parse(format)?),
        };
        let contents = |name: &str| session.engine.image_contents(name, &Events::none());
        let (before, after) = (contents(before)?, contents(after)?);
        let diff = diff_images(&before, &after, &wanted(options))?;
        let sides = (&before, &after);
        match (&template, options.format.as_deref()) {
            _ if options.quiet => {}
            (Some(template), _) => {
                let value =
                    serde_json::to_value(DiffDocument::new(sides, &diff)).unwrap_or_default();
                let missing = Missing::Error;
                let options = TemplateOptions { missing, ..TemplateOptions::default() };
                session.say(&template.render(&value, &options)?)?;
            }
            (None, Some("json")) => {
                let document = serde_json::to_string_pretty(&DiffDocument::new(sides, &diff));
                session.say(&document.map_err(|error| Failure::new(error.to_string()))?)?;
            }
            (None, _) => {
                let text = text(sides, &diff);
                let for_eyes = io::stdout().is_terminal();
                session.print(&if for_eyes { harmless(&text) } else { text })?;
            }
        }
        Ok(u8::from(!diff.is_empty()))
    };
    compare().map_err(|failure| match failure.code {
        1 => failure.with_code(TROUBLE),
        _ => failure,
    })
}

fn wanted(options: &Options) -> DiffOptions {
    let ignores = |what| options.ignore.contains(&what);
    let aspect = |ignored: &Ignored| match ignored {
        Ignored::Mode => Some(Aspect::Mode),
        Ignored::Owner => Some(Aspect::Owner),
        Ignored::Time => Some(Aspect::Time),
        Ignored::Xattrs => Some(Aspect::Xattrs),
        Ignored::Links => Some(Aspect::Links),
        Ignored::Config | Ignored::Created | Ignored::Layers => None,
    };
    let mut text = TextOptions::default();
    if let Some(context) = options.unified {
        text.context = context;
    }
    if options.full {
        (text.max_size, text.max_lines) = (u64::MAX, usize::MAX);
    }
    DiffOptions {
        ignore_config: ignores(Ignored::Config),
        ignore_created: ignores(Ignored::Created),
        ignore_layers: ignores(Ignored::Layers),
        ignore_aspects: options.ignore.iter().filter_map(aspect).collect(),
        text: (!options.no_text && !options.quiet).then_some(text),
    }
}

/// All differences for people; nothing when there are none.
pub(super) fn text((before, after): (&ImageContents, &ImageContents), diff: &ImageDiff) -> String {
    let mut text = String::new();
    if diff.is_empty() {
        return text;
    }
    let differing = diff.layers.iter().filter(|l| !matches!(l, LayerChange::Same { .. })).count();
    if !diff.fields.is_empty() {
        text.push_str("Configuration:\n");
        let value = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "(none)".to_owned(), Value::to_string)
        };
        for field in &diff.fields {
            let (before, after) = (value(&field.before), value(&field.after));
            let _infallible = writeln!(text, "  {}: {before} -> {after}", field.path);
        }
    }
    if differing > 0 {
        text.push_str("Layers:\n");
        let rows: Vec<_> = diff
            .layers
            .iter()
            .flat_map(|change| layer_rows(&before.layers, &after.layers, *change))
            .collect();
        text.push_str(&table::align_by(0, 2, &rows));
    }
    if !diff.files.is_empty() {
        text.push_str("Files:\n");
        for file in &diff.files {
            let _infallible = writeln!(text, "  {}", file_line(file));
        }
        for file in &diff.files {
            let path = shown(&file.difference.path);
            match &file.text {
                Some(TextChange::Unified { hunks, omitted }) => {
                    let _infallible = write!(text, "\n--- a{path}\n+++ b{path}\n{hunks}");
                    if *omitted > 0 {
                        let _infallible =
                            writeln!(text, "({omitted} more lines: --full shows them)");
                    }
                }
                Some(TextChange::TooLarge) => {
                    let _infallible = write!(
                        text,
                        "\n{path}: too large to be compared line by line (--full does)\n"
                    );
                }
                Some(TextChange::Binary { .. }) | None => {}
            }
        }
    }
    let count = |number: usize, what: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{number} {what}{plural}")
    };
    let counts = [(diff.fields.len(), "field"), (differing, "layer"), (diff.files.len(), "file")];
    let counts = counts.into_iter().filter(|(number, _)| *number > 0);
    let counts: Vec<_> = counts.map(|(number, what)| count(number, what)).collect();
    let _infallible = writeln!(text, "\n{} differ.", counts.join(", "));
    text
}

/// The lines for a layer: its sign, its id, its size, and what made it.
fn layer_rows(
    before: &[ImageLayer],
    after: &[ImageLayer],
    change: LayerChange,
) -> Vec<Vec<String>> {
    let (one, other) = change.places();
    let row = |sign: &str, layer: &ImageLayer| {
        let id = layer.diff_id.short();
        let made = layer.created_by.replace(['\n', '\t'], " ");
        vec![format!("  {sign}"), id, units::size(layer.size, 3), made]
    };
    let one = one.and_then(|index| before.get(index));
    let other = other.and_then(|index| after.get(index));
    match change {
        LayerChange::Same { .. } => other.map(|layer| row("=", layer)).into_iter().collect(),
        _ => {
            let removed = one.map(|layer| row("-", layer));
            removed.into_iter().chain(other.map(|layer| row("+", layer))).collect()
        }
    }
}

/// The line for a file: docker's letter, the path, and what there is to say.
fn file_line(file: &FileChange) -> String {
    let difference = &file.difference;
    let path = shown(&difference.path);
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => {
            let told = |aspect: &Aspect| match (aspect, &file.text) {
                (Aspect::Contents, Some(TextChange::Binary { same })) => {
                    format!("contents from byte {} on", same + 1)
                }
                _ => aspect_text(*aspect, before, after),
            };
            let aspects: Vec<_> = difference.aspects.iter().map(told).collect();
            format!("C {path} ({})", aspects.join(", "))
        }
        (None, Some(node)) => format!("A {path} ({})", node_text(node)),
        (Some(node), None) => format!("D {path} ({})", node_text(node)),
        (None, None) => path,
    }
}

fn aspect_text(aspect: Aspect, before: &Node, after: &Node) -> String {
    let name = aspect.name();
    let value = |node: &Node| {
        let meta = &node.meta;
        Some(match aspect {
            Aspect::Kind => meta.kind.name().to_owned(),
            Aspect::Mode => format!("{:04o}", meta.mode),
            Aspect::Owner => format!("{}:{}", meta.uid, meta.gid),
            Aspect::Time => time(meta.mtime),
            Aspect::Size => format!("{}", meta.size),
            Aspect::Target => shown(node.link_target().ok()?),
            Aspect::Device => format!("{}:{}", meta.rdev.0, meta.rdev.1),
            Aspect::Xattrs => {
                let names = node.xattrs().ok()?.into_iter().map(|(name, _)| shown(name));
                format!("[{}]", names.collect::<Vec<_>>().join(" "))
            }
            Aspect::Contents | Aspect::Links => return None,
        })
    };
    match (value(before), value(after)) {
        (Some(before), Some(after)) if before == after => format!("{name} of {before}"),
        (Some(before), Some(after)) => format!("{name} {before} -> {after}"),
        _ => name.to_owned(),
    }
}

/// A file that only one image has.
fn node_text(node: &Node) -> String {
    let meta = &node.meta;
    let text = format!("{}, {:04o}, {}:{}", meta.kind.name(), meta.mode, meta.uid, meta.gid);
    match meta.kind {
        Kind::File => format!("{text}, {}", units::size(meta.size, 3)),
        Kind::Symlink => format!("{text} -> {}", shown(node.link_target().unwrap_or_default())),
        _ => text,
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
