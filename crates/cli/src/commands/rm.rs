//! `bld rm`

use bld_engine::EngineError;
use bld_engine::containers::RemoveOptions;

use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Remove one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let options = RemoveOptions { force: args.force, volumes: args.volumes };
    session.each(&args.containers, |name| match session.engine.remove_container(name, options) {
        // As docker: said, and neither counted as done nor as a failure.
        Err(error @ EngineError::NoSuchContainer { .. }) if args.force => {
            Err(Failure::from(error).with_code(0))
        }
        removed => Ok(removed?),
    })
}
