//! `bld rename`

use crate::session::{Outcome, Session};

/// Rename a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.engine.rename_container(&args.container, &args.name)?;
    Ok(0)
}
