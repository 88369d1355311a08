//! `bld sbom`

use bld_event::Events;

use crate::session::{Outcome, Session};

/// List the packages in an image, as SPDX in JSON
///
/// Reads the databases of dpkg, apk and rpm, lock files of npm, yarn, pnpm, Cargo, Go, Bundler and
/// Composer, requirements.txt, installed packages of Python and Node, and programs in Go.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let document = session.engine.sbom(&args.image, &Events::none())?;
    session.say(&format!("{document:#}"))?;
    Ok(0)
}
