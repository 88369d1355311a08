//! `bld imagetools`, in the words of buildx.

mod listing;

use std::path::{Path, PathBuf};

use bld_engine::build::Annotations;
use bld_engine::imagetools::{Combination, Combined, Entry, RemoteImage, Source};
use bld_oci::{Platform, Reference};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::build::annotations;
use crate::error::{Failure, describe};
use crate::output::file;
use crate::progress::{Display, Mode};
use crate::session::{Outcome, Session};
use crate::template::{Options, Template};

/// Commands to work on images in registries
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Imagetools {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(CreateArgs),
    Inspect(InspectArgs),
}

impl Imagetools {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            Command::Create(args) => create(&args, session),
            Command::Inspect(args) => inspect(&args, session),
        }
    }
}

/// Create a new image based on source images
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Add annotation to the image (format: "[index|manifest-descriptor[PLATFORM]:]key=value")
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Append to existing manifest
    #[arg(long)]
    append: bool,
    /// Override the configured builder instance (there is one)
    #[arg(long, value_name = "string")]
    builder: Option<String>,
    /// Show final image instead of pushing
    #[arg(long)]
    dry_run: bool,
    /// Read source descriptor from file
    #[arg(short, long, value_name = "stringArray")]
    file: Vec<PathBuf>,
    /// Write create result metadata to a file
    #[arg(long, value_name = "string")]
    metadata_file: Option<PathBuf>,
    /// Filter specified platforms of target image
    #[arg(short, long, value_name = "stringArray", value_delimiter = ',')]
    platform: Vec<String>,
    /// When only a single source is specified, prefer outputting an image index or manifest list instead of performing a carbon copy
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "true", default_missing_value = "true", hide_default_value = false)]
    #[arg(action = clap::ArgAction::Set)]
    prefer_index: bool,
    /// Set type of progress output ("auto", "none", "plain", "rawjson", "tty")
    #[arg(long, value_name = "string", default_value = "auto", hide_possible_values = true)]
    progress: Mode,
    /// Set reference for new image
    #[arg(short, long, value_name = "stringArray")]
    tag: Vec<String>,
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    if args.sources.is_empty() && args.file.is_empty() {
        return Err(Failure::new("no sources specified"));
    }
    if !args.dry_run && args.tag.is_empty() {
        let why = "can't push with no tags specified, please set --tag or --dry-run";
        return Err(Failure::new(why));
    }
    let asked = combination(args)?;
    let image = session.engine.combine(&asked)?;
    if args.dry_run {
        session.say(&String::from_utf8_lossy(&image.manifest.bytes))?;
        return Ok(0);
    }
    let display = Display::start(args.progress)?;
    let published = session.engine.publish(&image, &asked.tags, &display.events());
    display.finish();
    published?;
    if let Some(path) = &args.metadata_file {
        write_metadata(path, &image, &asked.tags)?;
    }
    Ok(0)
}

fn combination(args: &CreateArgs) -> Result<Combination, Failure> {
    let reference =
        |text: &String| Reference::parse(text).map_err(|error| Failure::new(describe(&error)));
    let tags: Vec<Reference> = args.tag.iter().map(reference).collect::<Result<_, _>>()?;
    let mut texts: Vec<String> = Vec::new();
    // What is there comes first, so that what is new counts where both speak of the same.
    texts.extend(args.tag.first().filter(|_| args.append).cloned());
    for path in &args.file {
        let failed = |error| Failure::new(format!("open {}: {error}", path.display()));
        texts.push(std::fs::read_to_string(path).map_err(failed)?);
    }
    texts.extend(args.sources.iter().cloned());
    let source =
        |text: &String| text.parse::<Source>().map_err(|error| Failure::new(describe(&error)));
    let mut annotations = Annotations::default();
    for word in &args.annotation {
        let invalid = |why| Failure::new(format!("invalid annotation {word:?}: {why}"));
        let found = annotations::of_flag(word).map_err(invalid)?;
        for annotation in found {
            annotations.push(annotation);
        }
    }
    let platform = |text: &String| {
        let invalid = |error| Failure::new(format!("invalid platform {text:?}: {error}"));
        Platform::parse(text).map_err(invalid)
    };
    Ok(Combination {
        sources: texts.iter().map(source).collect::<Result<_, _>>()?,
        tags,
        annotations,
        prefer_index: args.prefer_index,
        platforms: args.platform.iter().map(platform).collect::<Result<_, _>>()?,
    })
}

fn write_metadata(path: &Path, image: &Combined, tags: &[Reference]) -> Result<(), Failure> {
    let mut names: Vec<String> = tags.iter().map(Reference::name).collect();
    names.sort_unstable();
    names.dedup();
    let metadata = json!({
        "containerimage.descriptor": Entry::of(&image.manifest),
        "image.name": names.join(","),
    });
    file::write(path, |out| {
        Ok(serde_json::to_writer_pretty(out, &metadata).map_err(std::io::Error::from)?)
    })
}

/// Show details of an image in the registry
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Override the configured builder instance (there is one)
    #[arg(long, value_name = "string")]
    builder: Option<String>,
    /// Format the output using the given Go template (default "{{.Manifest}}")
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show original, unformatted JSON manifest
    #[arg(long)]
    raw: bool,
    #[arg(value_name = "NAME")]
    name: String,
}

fn inspect(args: &InspectArgs, session: &Session) -> Outcome {
    if args.raw && args.format.is_some() {
        return Err(Failure::new("format and raw cannot be used together"));
    }
    let image = session.engine.remote_image(&args.name)?;
    let text = match args.format.as_deref() {
        // No newline, so that the output has the digest.
        None if args.raw => String::from_utf8_lossy(&image.manifest.bytes).into_owned(),
        None => listing::of(&image),
        Some(format) if is_whole_manifest(format) => listing::of(&image),
        Some(format) => {
            let template = Template::parse(format)?;
            let data = details(session, &args.name, &image, format)?;
            let options = Options { go_fields: true, pretty_json: true, ..Options::default() };
            template.render(&data, &options)?
        }
    };
    session.print(&text)?;
    Ok(0)
}

/// Whether a template is no more than `{{.Manifest}}`.
fn is_whole_manifest(format: &str) -> bool {
    let inner = format.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| inner.trim() == ".Manifest")
}

/// What a template refers to. Attestations are fetched only for those that mention them.
fn details(
    session: &Session,
    name: &str,
    image: &RemoteImage,
    format: &str,
) -> Result<Value, Failure> {
    let configs = session.engine.remote_configs(image)?;
    let manifest = match &image.index {
        None => json!(Entry::of(&image.manifest)),
        Some(index) => {
            let mut manifest = json!(index);
            manifest["digest"] = json!(image.manifest.digest);
            manifest["size"] = json!(image.manifest.bytes.len());
            manifest
        }
    };
    let several = configs.len() > 1;
    // Of one platform, the value; of several, a map of them.
    let by_platform = |mut values: Map<String, Value>, none: Value| {
        if several {
            return Value::Object(values);
        }
        values.iter_mut().next().map_or(none, |(_, value)| value.take())
    };
    let values = configs.iter().map(|(platform, (_, config))| (platform.clone(), config.clone()));
    let config = by_platform(values.collect(), Value::Null);
    let mut data = json!({ "name": name, "manifest": manifest, "image": config });
    if format.contains(".SBOM") || format.contains(".Provenance") {
        let (mut sboms, mut provenances) = (Map::new(), Map::new());
        for statement in session.engine.attestations(name)? {
            let platforms = configs.iter().filter(|(_, (digest, _))| {
                *digest == statement.subject || statement.subject == image.manifest.digest
            });
            let Some(predicate) = statement.statement.get("predicate") else { continue };
            for (platform, _) in platforms {
                if statement.predicate_type == bld_engine::attest::SPDX {
                    match sboms.get_mut(platform) {
                        None => _ = sboms.insert(platform.clone(), json!({ "SPDX": predicate })),
                        Some(known) => match known["AdditionalSPDXs"].as_array_mut() {
                            Some(more) => more.push(predicate.clone()),
                            None => known["AdditionalSPDXs"] = json!([predicate]),
                        },
                    }
                } else if statement.predicate_type.starts_with(SLSA) {
                    provenances.insert(platform.clone(), json!({ "SLSA": predicate }));
                }
            }
        }
        data["SBOM"] = by_platform(sboms, json!({}));
        data["Provenance"] = by_platform(provenances, json!({}));
    }
    Ok(data)
}

/// How the types of predicates begin that tell how an image was made.
const SLSA: &str = "https://slsa.dev/provenance/";
