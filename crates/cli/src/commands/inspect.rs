//! `bld inspect`

mod inside;

use bld_engine::EngineError;
use bld_oci::Platform;
use serde::Serialize;
use serde_json::Value;

use super::pull::platform;
use crate::documents::{container, image, volume};
use crate::error::Failure;
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options, Template};

/// Return low-level information on images, containers, networks, volumes and steps of builds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[command(flatten)]
    inside: inside::Options,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "string")]
    kind: Option<Kind>,
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
    Step,
}

/// Display detailed information on one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Display detailed information on one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[command(flatten)]
    inside: inside::Options,
    /// Inspect the image for this platform, of those that a name stands for
    #[arg(long, value_name = "string", conflicts_with_all = ["layers", "files"])]
    platform: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    if args.inside.is_wanted() {
        return inside::run(&args.inside, args.format.as_deref(), &args.names, session);
    }
    show(session, args.format.as_deref(), &args.names, |name| {
        let kinds = match args.kind {
            Some(kind) => vec![kind],
            None => vec![Kind::Container, Kind::Image, Kind::Network, Kind::Volume, Kind::Step],
        };
        for &kind in &kinds {
            let found = match kind {
                Kind::Container => container_document(session, name, args.size),
                Kind::Image => image_document(session, name, None),
                Kind::Network => super::network::document(session, name),
                Kind::Volume => volume_document(session, name),
                Kind::Step => step_document(session, name),
            };
            match found {
                Err(error) if is_missing(&error) && args.kind.is_none() => {}
                found => return Ok(found?),
            }
        }
        Err(Failure::new(format!("No such object: {name}")))
    })
}

pub(crate) fn containers(args: &ContainerArgs, session: &Session) -> Outcome {
    show(session, args.format.as_deref(), &args.names, |name| {
        Ok(container_document(session, name, args.size)?)
    })
}

pub(crate) fn images(args: &ImageArgs, session: &Session) -> Outcome {
    if args.inside.is_wanted() {
        return inside::run(&args.inside, args.format.as_deref(), &args.names, session);
    }
    let platform = platform(args.platform.as_deref())?;
    show(session, args.format.as_deref(), &args.names, |name| {
        Ok(image_document(session, name, platform.as_ref())?)
    })
}

/// Whether there is just no such thing, of whatever kind was looked for.
fn is_missing(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::NoSuchContainer { .. }
            | EngineError::NoSuchImage { .. }
            | EngineError::NoSuchNetwork { .. }
            | EngineError::NoSuchVolume { .. }
            | EngineError::NoSuchStep { .. }
            | EngineError::Reference { .. }
    )
}

/// A document, as text in docker's order of keys and as a value for templates.
pub(super) struct Document {
    json: String,
    value: Value,
}

impl Document {
    /// The document of something that can be told as JSON.
    pub(super) fn of(document: &impl Serialize) -> Self {
        let mut json = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
        // Plain data with string keys always has a form in JSON.
        let _infallible = document.serialize(&mut serializer);
        let value = serde_json::to_value(document).unwrap_or_default();
        Self { json: String::from_utf8(json).unwrap_or_default(), value }
    }
}

fn container_document(session: &Session, name: &str, size: bool) -> Result<Document, EngineError> {
    let engine = &session.engine;
    let found = engine.find_container(name)?;
    let sizes = if size {
        let own = engine.container_size(&found)?;
        let image = engine.find_image(&found.image.to_string()).map_or(0, |image| image.size);
        Some((own, own + image))
    } else {
        None
    };
    let mut mountpoints = Vec::new();
    for mount in &found.mounts {
        mountpoints.push(match &mount.source {
            bld_engine::containers::MountSource::Volume { name, .. } => engine
                .volume(name)
                .map(|volume| volume.data.display().to_string())
                .unwrap_or_default(),
            _ => String::new(),
        });
    }
    let log = engine.log_path(&found.id)?;
    Ok(Document::of(&container::document(&found, &log, &mountpoints, sizes)))
}

fn image_document(
    session: &Session,
    name: &str,
    platform: Option<&Platform>,
) -> Result<Document, EngineError> {
    Ok(Document::of(&image::document(&session.engine.image_details_for(name, platform)?)))
}

fn volume_document(session: &Session, name: &str) -> Result<Document, EngineError> {
    Ok(Document::of(&volume::document(&session.engine.volume(name)?)))
}

fn step_document(session: &Session, name: &str) -> Result<Document, EngineError> {
    let step = session.engine.find_step(name)?;
    let created = jiff::Timestamp::try_from(step.created).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Ok(Document::of(&serde_json::json!({
        "Id": step.id,
        "Name": step.name,
        "Failed": step.failed,
        "Created": created.to_string(),
        "Platform": step.platform,
        "LogPath": step.log,
        "Config": step.config,
    })))
}

/// Prints the documents of all `names`: as one list, or each by the template. What is missing is
/// said afterwards, so that the list is always there.
pub(super) fn show(
    session: &Session,
    format: Option<&str>,
    names: &[String],
    find: impl Fn(&str) -> Result<Document, Failure>,
) -> Outcome {
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(name) {
            Ok(document) => documents.push(document),
            Err(failure) => failures.push(failure),
        }
    }
    match format {
        None | Some("") => {
            let indent = |document: &Document| document.json.replace('\n', "\n    ");
            let texts: Vec<_> = documents.iter().map(|d| format!("\n    {}", indent(d))).collect();
            let end = if texts.is_empty() { "" } else { "\n" };
            session.say(&format!("[{}{end}]", texts.join(",")))?;
        }
        Some("json") => {
            let texts: Vec<_> =
                documents.iter().map(|document| document.value.to_string()).collect();
            session.say(&format!("[{}]", texts.join(",")))?;
        }
        Some(format) => {
            let template = Template::parse(format).map_err(Failure::unreadable)?;
            let options = Options { missing: Missing::Error, ..Options::default() };
            for document in &documents {
                // What a template prints ends in a newline of its own, as docker has it.
                let mut value = document.value.clone();
                // Left out where there is no check, but no unknown field: scripts ask for it.
                if let Some(Value::Object(state)) = value.get_mut("State") {
                    state.entry("Health").or_insert(Value::Null);
                }
                let text = template.render(&value, &options)?;
                session.print(&format!("{text}\n"))?;
            }
        }
    }
    for failure in &failures {
        failure.print("Error: ");
    }
    Ok(u8::from(!failures.is_empty()))
}
