//! `bld manifest`, in the words of docker, podman and buildah.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_engine::EngineError;
use bld_engine::imagetools::{Entry, ListError, Location, Member, Overrides};
use bld_oci::{Reference, media_type};
use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::pull::shown_as;
use crate::error::{Failure, describe};
use crate::output::{file, json};
use crate::progress::{self, Stdio};
use crate::session::{Outcome, Session};

/// Manage image manifests and manifest lists
///
/// A list is put together here, of images in the store or at registries, and pushed as an index.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, verbatim_doc_comment)]
pub(crate) struct Manifest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(AddArgs),
    Annotate(AnnotateArgs),
    Create(CreateArgs),
    Exists(ExistsArgs),
    Inspect(InspectArgs),
    Push(PushArgs),
    Remove(RemoveArgs),
    Rm(RmArgs),
}

impl Manifest {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            Command::Add(args) => add(&args, session),
            Command::Annotate(args) => annotate(&args, session),
            Command::Create(args) => create(&args, session),
            Command::Exists(args) => exists(&args, session),
            Command::Inspect(args) => inspect(&args, session),
            Command::Push(args) => push(&args, session),
            Command::Remove(args) => remove(&args, session),
            Command::Rm(args) => {
                session.each(&args.lists, |list| Ok(session.engine.delete_manifest_list(list)?))
            }
        }
    }
}

/// What is said of an image in place of what it says itself.
#[derive(Debug, clap::Args)]
struct Said {
    /// Set an annotation for the image
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Set architecture
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "string")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "string")]
    variant: Option<String>,
}

impl Said {
    fn overrides(&self) -> Result<Overrides, Failure> {
        Ok(Overrides {
            os: self.os.clone(),
            architecture: self.arch.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            annotations: pairs(&self.annotation)?,
        })
    }
}

fn pairs(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!("invalid annotation {word:?}: the form is key=value"))),
    };
    words.iter().map(pair).collect()
}

/// Create a local manifest list for annotating and pushing to a registry
///
/// Images are looked for in the store, then at their registries; with "docker://" in front of them, only
/// there.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct CreateArgs {
    /// Add all of the lists' images if the images to add are lists
    #[arg(long)]
    all: bool,
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Set an annotation for the list
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST")]
    images: Vec<String>,
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let session = &session.unverified_if(args.insecure);
    let (images, annotations) = (&args.images, pairs(&args.annotation)?);
    let how = (args.amend, args.all);
    session.engine.create_manifest_list(&args.list, images, how, &annotations)?;
    session.say(&format!("Created manifest list {}", reference(&args.list)?))?;
    Ok(0)
}

/// Add images to a manifest list
///
/// Images are looked for in the store, then at their registries; with "docker://" in front of them, only
/// there.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct AddArgs {
    /// Add all of the list's images if the image is a list
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    said: Said,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST", required = true)]
    images: Vec<String>,
}

fn add(args: &AddArgs, session: &Session) -> Outcome {
    let overrides = args.said.overrides()?;
    for image in &args.images {
        let added = session.engine.add_to_manifest_list(&args.list, image, args.all, &overrides)?;
        for digest in added {
            session.say(&digest)?;
        }
    }
    Ok(0)
}

/// Add additional information to a local image manifest
#[derive(Debug, clap::Args)]
struct AnnotateArgs {
    #[command(flatten)]
    said: Said,
    /// Annotate the list itself
    #[arg(long, conflicts_with = "image")]
    index: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST", required_unless_present = "index")]
    image: Option<String>,
}

fn annotate(args: &AnnotateArgs, session: &Session) -> Outcome {
    let overrides = args.said.overrides()?;
    session.engine.annotate_manifest_list(&args.list, args.image.as_deref(), &overrides)?;
    Ok(0)
}

/// Check if a manifest list exists in the store
#[derive(Debug, clap::Args)]
struct ExistsArgs {
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
}

fn exists(args: &ExistsArgs, session: &Session) -> Outcome {
    match session.engine.manifest_list(&args.list) {
        Ok(_) => Ok(0),
        Err(EngineError::List(ListError::Missing(_))) => Ok(1),
        Err(error) => Err(error.into()),
    }
}

/// Remove an image from a manifest list
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST")]
    image: String,
}

fn remove(args: &RemoveArgs, session: &Session) -> Outcome {
    session.engine.remove_from_manifest_list(&args.list, &args.image)?;
    session.say(&args.image)?;
    Ok(0)
}

/// Delete one or more manifest lists from the store; images stay
#[derive(Debug, clap::Args)]
struct RmArgs {
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    lists: Vec<String>,
}

/// Push a manifest list, and the images on it, to a repository
#[derive(Debug, clap::Args)]
struct PushArgs {
    /// Also push the images in the list (they always are)
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "bool")]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    all: Option<bool>,
    /// Write the digest of the resulting index to the file
    #[arg(long, value_name = "string")]
    digestfile: Option<PathBuf>,
    /// Manifest type ("oci" or "v2s2") to use when pushing the list (default: that of its images)
    #[arg(short, long, value_name = "string")]
    format: Option<Format>,
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long, visible_alias = "rm")]
    purge: bool,
    /// Don't output progress information when pushing lists
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

/// What a list is pushed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// An index of OCI.
    Oci,
    /// Docker's manifest list.
    V2s2,
}

fn push(args: &PushArgs, session: &Session) -> Outcome {
    let session = &session.unverified_if(args.insecure);
    let destination = args.destination.as_ref().unwrap_or(&args.list);
    let destination = reference(destination.strip_prefix("docker://").unwrap_or(destination))?;
    let format = args.format.map(|format| match format {
        Format::Oci => media_type::OCI_INDEX,
        Format::V2s2 => media_type::DOCKER_INDEX,
    });
    let digest = shown_as(progress::PUSH, Stdio::Err, args.quiet, |events| {
        session.engine.push_manifest_list(&args.list, &destination, format, events)
    })?;
    if let Some(path) = &args.digestfile {
        use std::io::Write as _;
        file::write(path, |out| Ok(write!(out, "{digest}")?))?;
    }
    if args.purge {
        session.engine.delete_manifest_list(&args.list)?;
    }
    session.say(&digest.to_string())?;
    Ok(0)
}

/// Display an image manifest, or manifest list
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "[MANIFEST_LIST] MANIFEST", required = true, num_args = 1..=2)]
    names: Vec<String>,
}

fn inspect(args: &InspectArgs, session: &Session) -> Outcome {
    let session = &session.unverified_if(args.insecure);
    let engine = &session.engine;
    if let [list, image] = args.names.as_slice() {
        let member = engine.manifest_list(list)?.member(image, list)?.clone();
        if args.verbose {
            return verbose(session, vec![member], false);
        }
        return document(session, &engine.member_manifest(&member)?.bytes, "\t");
    }
    let name = args.names.first().map_or("", String::as_str);
    let (place, name) = match name.strip_prefix("docker://") {
        Some(name) => (None, name),
        None => (Some(engine.manifest_list(name)), name),
    };
    match place {
        Some(Ok(list)) if args.verbose => verbose(session, list.members, true),
        Some(Ok(list)) => {
            let index = list.index(None).map_err(EngineError::from)?;
            session.say(&json::pretty(&index, GO_LIST)?)?;
            Ok(0)
        }
        None | Some(Err(EngineError::List(ListError::Missing(_)))) => {
            let found = engine.remote_image(name)?;
            let is_list = found.index.is_some();
            if let (true, Location::Registry(reference)) = (args.verbose, &found.location) {
                return verbose(session, engine.remote_members(reference, true)?, is_list);
            }
            document(session, &found.manifest.bytes, if is_list { GO_LIST } else { "\t" })
        }
        Some(Err(error)) => Err(error.into()),
    }
}

fn document(session: &Session, bytes: &[u8], indent: &str) -> Outcome {
    session.say(&json::indented(&String::from_utf8_lossy(bytes), indent))?;
    Ok(0)
}

/// How docker indents lists.
const GO_LIST: &str = "   ";

/// A manifest as docker tells it in full.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Verbose {
    #[serde(rename = "Ref")]
    name: String,
    descriptor: Entry,
    raw: String,
    #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    docker: Option<Value>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    oci: Option<Value>,
}

fn verbose(session: &Session, members: Vec<Member>, is_list: bool) -> Outcome {
    let tell = |member: Member| {
        let manifest = session.engine.member_manifest(&member)?;
        let document = serde_json::from_slice(&manifest.bytes).ok();
        let is_docker = manifest.media_type == media_type::DOCKER_MANIFEST;
        let (docker, oci) = if is_docker { (document, None) } else { (None, document) };
        let raw = STANDARD.encode(&manifest.bytes);
        Ok(Verbose { name: member.name, descriptor: member.entry, raw, docker, oci })
    };
    let told = members.into_iter().map(tell).collect::<Result<Vec<_>, Failure>>()?;
    let text = match told.as_slice() {
        [only] if !is_list => json::pretty(only, "\t")?,
        all => json::pretty(&all, "\t")?,
    };
    session.say(&text)?;
    Ok(0)
}

fn reference(name: &str) -> Result<Reference, Failure> {
    Reference::parse(name).map_err(|error| Failure::new(describe(&error)))
}
