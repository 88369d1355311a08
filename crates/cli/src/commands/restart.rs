//! `bld restart`

use crate::session::{Outcome, Session};

/// Restart one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "int",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.each(&args.containers, |name| {
        let signal = args.signal.as_deref();
        session.engine.restart_container(name, signal, args.time)?;
        Ok(())
    })
}
