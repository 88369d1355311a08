//! `bld save`

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use bld_event::Events;

use super::pull::platform;
use crate::error::Failure;
use crate::output::file;
use crate::session::{Outcome, Session};

/// Save one or more images to a tar archive (streamed to STDOUT by default)
///
/// The archive is one that docker, podman and skopeo load, and an OCI layout as well.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Format of the output ("docker-archive", "oci-archive", or "oci-dir", which is a directory)
    #[arg(
        long,
        value_name = "string",
        default_value = "docker-archive",
        hide_default_value = true,
        hide_possible_values = true
    )]
    format: Format,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "string")]
    output: Option<PathBuf>,
    /// Save only the given platform
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    DockerArchive,
    OciArchive,
    OciDir,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let platform = platform(args.platform.as_deref())?;
    let (platform, events) = (platform.as_ref(), Events::none());
    let (engine, names) = (&session.engine, &args.images);
    let docker = args.format == Format::DockerArchive;
    match &args.output {
        Some(path) if args.format == Format::OciDir => {
            engine.save_layout(names, platform, path, &events)?;
        }
        None if args.format == Format::OciDir => {
            return Err(Failure::new("a directory cannot be written to STDOUT")
                .with_hint("name it with -o, or use --format oci-archive"));
        }
        Some(path) => {
            file::write(
                path,
                |out| Ok(engine.save_images(names, docker, platform, out, &events)?),
            )?;
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::new(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        None => {
            let mut out = BufWriter::with_capacity(file::BUFFER, io::stdout().lock());
            engine.save_images(names, docker, platform, &mut out, &events)?;
            out.flush()?;
        }
    }
    Ok(0)
}
