//! `bld tag`

use crate::session::{Outcome, Session};

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.engine.tag_image(&args.source, &args.target)?;
    Ok(0)
}
