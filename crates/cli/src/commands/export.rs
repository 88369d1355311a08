//! `bld export`

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use crate::error::Failure;
use crate::output::file;
use crate::session::{Outcome, Session};

/// Export a container's filesystem as a tar archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let engine = &session.engine;
    match &args.output {
        Some(path) => file::write(path, |out| Ok(engine.export_container(&args.container, out)?))?,
        None if io::stdout().is_terminal() => {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        None => {
            let mut out = BufWriter::with_capacity(file::BUFFER, io::stdout().lock());
            engine.export_container(&args.container, &mut out)?;
            out.flush()?;
        }
    }
    Ok(0)
}
