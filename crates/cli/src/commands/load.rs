//! `bld load`

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::pull::{platform, shown};
use crate::error::Failure;
use crate::progress::Stdio;
use crate::session::{Outcome, Session};

/// Load an image from a tar archive or STDIN
///
/// The archive is one of docker, podman, skopeo or BuildKit, or an OCI layout, plain or compressed. Of
/// images for several platforms, all that are there are taken.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Read from tar archive file or OCI layout directory, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<PathBuf>,
    /// Load only the given platform
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let platform = platform(args.platform.as_deref())?;
    let (engine, platform) = (&session.engine, platform.as_ref());
    // As with docker, only people want to see how it goes on.
    let quiet = args.quiet || !io::stderr().is_terminal();
    let loaded = match &args.input {
        Some(path) if path.is_dir() => {
            shown(Stdio::Err, quiet, |events| engine.load_layout(path, platform, events))?
        }
        Some(path) => {
            let failed = |error| Failure::new(format!("open {}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            shown(Stdio::Err, quiet, |events| engine.load_images(file, platform, events))?
        }
        None if io::stdin().is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        None => {
            shown(Stdio::Err, quiet, |events| engine.load_images(io::stdin(), platform, events))?
        }
    };
    for image in loaded {
        if image.names.is_empty() {
            session.say(&format!("Loaded image ID: {}", image.id))?;
        }
        for name in &image.names {
            session.say(&format!("Loaded image: {name}"))?;
        }
    }
    Ok(0)
}
