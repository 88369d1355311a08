//! `bld image convert`

use bld_engine::images::Conversion;
use bld_event::Events;

use super::build::outputs::compression;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Give an image another form and another name
///
/// What the name is pushed and saved with changes: the compression of its layers and the format of its
/// manifest. The id of an image depends on neither, so it stays the same, and so does the image's other
/// name, unless the layers are squashed. Prints the digest of the new manifest.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Compress all layers anew ("gzip", "zstd" or "uncompressed")
    #[arg(long, value_name = "string")]
    compression: Option<String>,
    /// Level of the compression (to 9 for gzip, to 22 for zstd)
    #[arg(long, value_name = "int")]
    compression_level: Option<String>,
    /// Use the media types of docker
    #[arg(long, conflicts_with = "oci")]
    docker: bool,
    /// Use the media types of OCI (the default)
    #[arg(long)]
    oci: bool,
    /// Put all layers into one, which makes another image
    #[arg(long)]
    squash: bool,
    #[arg(value_name = "IMAGE")]
    source: String,
    #[arg(value_name = "NEW")]
    target: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let level = args.compression_level.as_deref();
    let compression = match (&args.compression, level) {
        (None, None) => None,
        (kind, level) => Some(compression(kind.as_deref(), level).map_err(Failure::new)?),
    };
    let conversion = Conversion { compression, docker_types: args.docker, squash: args.squash };
    let events = Events::none();
    let (_, digest) =
        session.engine.convert_image(&args.source, &args.target, &conversion, &events)?;
    session.say(&digest.to_string())?;
    Ok(0)
}
