//! `bld save`

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use bld_event::Events;

use crate::error::Failure;
use crate::output::file;
use crate::session::{Outcome, Session};

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let Some(path) = &args.output else {
        if io::stdout().is_terminal() {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let mut out = BufWriter::with_capacity(file::BUFFER, io::stdout().lock());
        session.engine.save_images(&args.images, &mut out, &Events::none())?;
        out.flush()?;
        return Ok(0);
    };
    file::write(path, |out| Ok(session.engine.save_images(&args.images, out, &Events::none())?))?;
    Ok(0)
}
