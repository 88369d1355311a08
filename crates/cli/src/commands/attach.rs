//! `bld attach`

use std::io::{self, IsTerminal as _};

use bld_engine::containers::{Control, Departure, Status};

use super::run::{self, Streams};
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: run::Keys,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process (use =false to turn it off)
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let keys = args.keys.parse()?;
    let container = session.engine.find_container(&args.container)?;
    let stdin = !args.no_stdin && container.host.open_stdin;
    let runs = container.state.status == Status::Running;
    if runs && stdin && container.host.tty && !io::stdin().is_terminal() {
        return Err(run::no_terminal());
    }
    let streams = Streams { stdin, stdout: true, stderr: true };
    let control = Control::new()?;
    let tty = container.host.tty;
    let proxy = args.sig_proxy && !tty;
    run::with_streams(&control, streams, tty, proxy, |io| {
        match session.engine.attach_container(&container.id, io, &control, Some(keys))? {
            Departure::Ended(exit) => Ok(exit),
            Departure::Detached => Err(Failure::new("read escape sequence")),
        }
    })
}
