//! `bld pull`

use bld_engine::EngineError;
use bld_engine::images::{PullOptions, Pulled};
use bld_engine::steps::looks_like_id;
use bld_event::Events;
use bld_oci::{Platform, Reference};

use super::options::Options;
use crate::error::{Failure, describe};
use crate::progress::{self, Display, Stdio};
use crate::session::{Outcome, Session};

/// Download an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Keep attestations that refer to the image, too; those in an index with it are kept anyway
    #[arg(long)]
    attestations: bool,
    /// Skip image verification (there is none to skip)
    #[arg(long)]
    disable_content_trust: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// `run --pull`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Policy {
    /// Ask the registry every time.
    Always,
    /// Only when the image is not in the store.
    Missing,
    /// Not at all.
    Never,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let platform = platform(args.platform.as_deref())?;
    let options = PullOptions { platform, referrers: args.attestations };
    if args.all_tags {
        return run_all(args, &options, session);
    }
    if !args.quiet {
        announce(session, &args.name)?;
    }
    let pull = |events: &Events| session.engine.pull_image(&args.name, &options, events);
    let pulled = shown(Stdio::Out, args.quiet, pull)?;
    warn(session, &pulled);
    if !args.quiet {
        let name = pulled.reference.familiar();
        session.print(&format!("{}{}", digest(&pulled), status(pulled.is_new, &name)))?;
    }
    session.say(&pulled.reference.to_string())?;
    Ok(0)
}

/// Pulls all tags of a repository.
fn run_all(args: &Args, options: &PullOptions, session: &Session) -> Outcome {
    let mut is_new = false;
    for name in session.engine.tagged_images(&args.name)? {
        if !args.quiet {
            announce(session, &name)?;
        }
        let pull = |events: &Events| session.engine.pull_image(&name, options, events);
        let pulled = shown(Stdio::Out, args.quiet, pull)?;
        warn(session, &pulled);
        if !args.quiet {
            session.print(&digest(&pulled))?;
        }
        is_new |= pulled.is_new;
    }
    let repository =
        Reference::parse(&args.name).map_err(|error| Failure::new(describe(&error)))?;
    if !args.quiet {
        session.print(&status(is_new, &repository.familiar_name()))?;
    }
    session.say(&repository.name())?;
    Ok(0)
}

/// `--platform`, if it was given.
pub(super) fn platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    text.map(Platform::parse).transpose().map_err(|error| Failure::new(describe(&error)))
}

fn announce(session: &Session, name: &str) -> Result<(), Failure> {
    let Ok(reference) = session.engine.likeliest_image(name) else { return Ok(()) };
    if !name.contains('@') && reference.tag() == Some("latest") && !name.ends_with(":latest") {
        session.say("Using default tag: latest")?;
    }
    session.say(&pulling(&reference))
}

/// What is not as it was at the registry.
fn warn(session: &Session, pulled: &Pulled) {
    if let Some(warning) = &pulled.warning {
        session.tell(&format!("Warning: {warning}"));
    }
}

fn pulling(reference: &Reference) -> String {
    let which = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    format!("{which}: Pulling from {}", reference.path())
}

fn digest(pulled: &Pulled) -> String {
    format!("Digest: {}\n", pulled.digest)
}

fn status(is_new: bool, name: &str) -> String {
    let what = if is_new { "Downloaded newer image" } else { "Image is up to date" };
    format!("Status: {what} for {name}\n")
}

/// Does `work` while its progress is shown.
pub(super) fn shown<T>(
    to: Stdio,
    quiet: bool,
    work: impl FnOnce(&Events) -> Result<T, EngineError>,
) -> Result<T, Failure> {
    shown_as(progress::PULL, to, quiet, work)
}

/// Does `work` while its progress is shown in these words.
pub(super) fn shown_as<T>(
    words: progress::Words,
    to: Stdio,
    quiet: bool,
    work: impl FnOnce(&Events) -> Result<T, EngineError>,
) -> Result<T, Failure> {
    if quiet {
        return Ok(work(&Events::none())?);
    }
    let display = Display::transfer(to, words)?;
    let result = work(&display.events());
    display.finish();
    Ok(result?)
}

/// Whether `name` is a step of a build. What is written as an id is never the name of an image that
/// is to be pulled.
fn looks_like_step(session: &Session, name: &str) -> Result<bool, Failure> {
    match session.engine.find_step(name) {
        Ok(_) => Ok(true),
        Err(EngineError::NoSuchStep { .. }) if looks_like_id(name) => {
            Err(Failure::new(format!("No such image, and no such step of a build: {name}"))
                .with_hint(
                    "what steps have made goes with the build cache; build again to have it",
                ))
        }
        Err(EngineError::NoSuchStep { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Sees to it that a container's image is there, by `--pull`. What there is to say goes to standard
/// error, since standard output is the container's.
pub(super) fn for_container(
    session: &Session,
    image: &str,
    options: &Options,
) -> Result<(), Failure> {
    let platform = platform(options.platform.as_deref())?;
    if options.pull != Policy::Always {
        match session.engine.find_image_for(image, platform.as_ref()) {
            Ok(found) => match &platform {
                Some(wanted) if found.platform != wanted.to_string() => {}
                _ => return Ok(()),
            },
            Err(EngineError::NoSuchImage { .. } | EngineError::Reference { .. })
                if looks_like_step(session, image)? =>
            {
                return Ok(());
            }
            Err(EngineError::NoSuchImage { .. }) if options.pull == Policy::Missing => {
                if !options.quiet {
                    let reference = Reference::parse(image).map(|reference| reference.familiar());
                    let name = reference.unwrap_or_else(|_| image.to_owned());
                    session.tell(&format!("Unable to find image '{name}' locally"));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    let wanted = PullOptions { platform, referrers: false };
    let pull = |events: &Events| session.engine.pull_image(image, &wanted, events);
    if !options.quiet
        && let Ok(reference) = session.engine.likeliest_image(image)
    {
        session.tell(&pulling(&reference));
    }
    let pulled = shown(Stdio::Err, options.quiet, pull)?;
    warn(session, &pulled);
    if !options.quiet {
        let status = status(pulled.is_new, &pulled.reference.familiar());
        session.tell(&format!("{}{}", digest(&pulled), status.trim_end()));
    }
    Ok(())
}
