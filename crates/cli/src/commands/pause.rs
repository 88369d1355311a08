//! `bld pause` and `bld unpause`

use crate::session::{Outcome, Session};

/// Pause all processes within one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Unpause all processes within one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct UnpauseArgs {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.each(&args.containers, |name| Ok(session.engine.pause_container(name)?))
}

pub(crate) fn unpause(args: &UnpauseArgs, session: &Session) -> Outcome {
    session.each(&args.containers, |name| Ok(session.engine.unpause_container(name)?))
}
