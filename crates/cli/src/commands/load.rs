//! `bld load`

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use bld_event::Events;

use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Load an image from a tar archive or STDIN
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let loaded = match &args.input {
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
            session.engine.load_images(file, &Events::none())?
        }
        None if io::stdin().is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        None => session.engine.load_images(io::stdin(), &Events::none())?,
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
