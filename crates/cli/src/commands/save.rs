//! `bld save`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use bld_event::Events;

use crate::error::Failure;
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
        let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        session.engine.save_images(&args.images, &mut out, &Events::none())?;
        out.flush()?;
        return Ok(0);
    };
    // Beside its name first: a file that is there is complete.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let failed = |error: io::Error| Failure::new(format!("write {}: {error}", path.display()));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(failed)?);
    let saved = session
        .engine
        .save_images(&args.images, &mut out, &Events::none())
        .map_err(Failure::from)
        .and_then(|()| out.flush().map_err(failed))
        .and_then(|()| std::fs::rename(&partial, path).map_err(failed));
    if saved.is_err() {
        // Useless now; that it stays is said by its name.
        let _left = std::fs::remove_file(&partial);
    }
    saved.map(|()| 0)
}
