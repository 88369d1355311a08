//! `bld completion`

use clap_complete::Shell;

use crate::app;
use crate::session::{Outcome, Session};

/// Generate the completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut app::command(), "bld", &mut script);
    session.print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
