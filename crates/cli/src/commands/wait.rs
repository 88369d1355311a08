//! `bld wait`

use crate::session::{Outcome, Session};

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    session.try_each(&args.containers, |name| {
        let code = session.engine.wait_container(name)?;
        session.say(&code.to_string())
    })
}
