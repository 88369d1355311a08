//! `bld import`

use std::fs::File;
use std::io::{self, IsTerminal};

use bld_engine::images::ImportRequest;
use bld_event::{Cancel, Events};

use super::pull::platform;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Import the contents from a tarball to create a filesystem image
///
/// The tarball may be compressed with gzip, bzip2, xz or zstd.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Set platform of the image (default: that of this machine)
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(value_name = "file|URL|-")]
    source: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

pub(crate) fn run(args: Args, session: &Session) -> Outcome {
    let source = args.source.as_str();
    let request = ImportRequest {
        reference: args.reference,
        changes: args.change,
        message: args.message.unwrap_or_else(|| format!("Imported from {source}")),
        platform: platform(args.platform.as_deref())?,
        epoch: epoch()?,
    };
    let (engine, events) = (&session.engine, Events::none());
    let id = if source == "-" {
        if io::stdin().is_terminal() {
            return Err(Failure::new("requested import from stdin, but stdin is empty"));
        }
        engine.import_image(io::stdin(), &request, &events)?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        engine.import_url(source, &request, &events, &Cancel::new())?
    } else {
        let failed = |error| Failure::new(format!("open {source}: {error}"));
        engine.import_image(File::open(source).map_err(failed)?, &request, &events)?
    };
    session.say(&id.to_string())?;
    Ok(0)
}

/// `SOURCE_DATE_EPOCH`, when it is set.
fn epoch() -> Result<Option<i64>, Failure> {
    let value = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|value| !value.is_empty());
    value.map(|value| value.parse()).transpose().map_err(|_| {
        Failure::new("SOURCE_DATE_EPOCH is no number").with_hint("use seconds since 1970")
    })
}
