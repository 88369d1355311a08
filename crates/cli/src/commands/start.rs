//! `bld start`

use super::run;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Start one or more stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    if !args.attach && !args.interactive {
        return session.each(&args.containers, |name| {
            session.engine.start_container(name)?;
            Ok(())
        });
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let container = session.engine.find_container(name)?;
    let streams = run::Streams { stdin: args.interactive, stdout: true, stderr: true };
    run::foreground(session, &container, streams, true)
}
