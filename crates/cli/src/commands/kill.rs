//! `bld kill`

use bld_engine::EngineError;

use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Kill one or more running containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string", default_value = "KILL", hide_default_value = true)]
    signal: String,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.each(&args.containers, |name| {
        session.engine.kill_container(name, &args.signal).map_err(|error| match error {
            EngineError::NoSuchContainer { .. } | EngineError::NotRunning { .. } => {
                Failure::from(error).about(&format!("cannot kill container: {name}"))
            }
            other => other.into(),
        })
    })
}
