//! `compose build`, `pull` and `push`.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use bld_compose::{Project, Service};

use super::Place;
use super::project;
use super::service::{image, parsed};
use crate::commands;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Build or rebuild services
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Set build-time variables for services
    #[arg(long, value_name = "stringArray")]
    build_arg: Vec<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pull: bool,
    /// Suppress the build output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Pull service images
#[derive(Debug, clap::Args)]
pub(super) struct PullArgs {
    /// Pull what it can and ignores images with pull failures
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Pull without printing progress information
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Push service images
#[derive(Debug, clap::Args)]
pub(super) struct PushArgs {
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// The services that are meant, with their names.
fn chosen<'a>(
    project: &'a Project,
    names: &'a [String],
) -> impl Iterator<Item = (&'a String, &'a Service)> {
    let wanted = move |name: &String| names.is_empty() || names.contains(name);
    project.services.iter().filter(move |(name, _)| wanted(name))
}

pub(super) fn run(args: &Args, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let mut more = Vec::new();
    more.extend(args.build_arg.iter().map(|arg| format!("--build-arg={arg}")));
    for (given, word) in
        [(args.no_cache, "--no-cache"), (args.pull, "--pull"), (args.quiet, "--quiet")]
    {
        more.extend(given.then(|| word.to_owned()));
    }
    for (name, service) in chosen(&project, &args.services) {
        let code = build(session, &project, name, service, &more)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// Builds the image of a service; nothing happens for one that is not built.
pub(super) fn build(
    session: &Session,
    project: &Project,
    name: &str,
    service: &Service,
    more: &[String],
) -> Outcome {
    let Some(build) = &service.build else { return Ok(0) };
    // A file that has no name, for as long as it is built.
    let inline = match &build.dockerfile_inline {
        Some(_) if build.dockerfile.is_some() => {
            let what = "dockerfile and dockerfile_inline exclude each other";
            return Err(Failure::new(format!("service {name:?}: {what}")));
        }
        Some(text) => {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = rustix::fs::memfd_create("dockerfile_inline", flags);
            let mut file = std::fs::File::from(file.map_err(std::io::Error::from)?);
            file.write_all(text.as_bytes())?;
            Some(file)
        }
        None => None,
    };
    let mut words = vec![format!("--tag={}", image(project, name, service))];
    words.extend(build.tags.iter().map(|tag| format!("--tag={tag}")));
    if let Some(file) = &inline {
        words.push(format!("--file=/proc/self/fd/{}", file.as_raw_fd()));
    }
    if let Some(file) = &build.dockerfile {
        // It counts from the context, unlike the flag.
        let file = if build.context.contains("://") || file.starts_with('/') {
            file.clone()
        } else {
            format!("{}/{file}", build.context)
        };
        words.push(format!("--file={file}"));
    }
    for (key, value) in &build.args.0 {
        words.push(match value {
            Some(value) => format!("--build-arg={key}={value}"),
            None => format!("--build-arg={key}"),
        });
    }
    for (key, value) in &build.labels.0 {
        words.push(format!("--label={key}={}", value.as_deref().unwrap_or_default()));
    }
    words.extend(build.cache_from.iter().map(|from| format!("--cache-from={from}")));
    words.extend(build.network.iter().map(|network| format!("--network={network}")));
    words.extend(build.target.iter().map(|target| format!("--target={target}")));
    words.extend(build.no_cache.then(|| "--no-cache".to_owned()));
    words.extend(service.platform.iter().map(|platform| format!("--platform={platform}")));
    words.extend(more.iter().cloned());
    words.push(build.context.clone());
    let args: commands::build::Args = parsed(words)?;
    commands::build::run(&args, session)
}

pub(super) fn pull(args: &PullArgs, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let mut worst = 0;
    for (_, service) in chosen(&project, &args.services) {
        let Some(image) = service.image.as_ref().filter(|_| service.build.is_none()) else {
            continue;
        };
        let mut words = vec![image.clone()];
        words.extend(args.quiet.then(|| "--quiet".to_owned()));
        words.extend(service.platform.iter().map(|platform| format!("--platform={platform}")));
        let pulled = commands::pull::run(&parsed(words)?, session);
        match pulled {
            Err(failure) if args.ignore_pull_failures => failure.print("Warning: "),
            pulled => worst = worst.max(pulled?),
        }
    }
    Ok(worst)
}

pub(super) fn push(args: &PushArgs, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    for (name, service) in chosen(&project, &args.services) {
        if service.build.is_some() {
            commands::push::run(&parsed(vec![image(&project, name, service)])?, session)?;
        }
    }
    Ok(0)
}
