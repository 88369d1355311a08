//! `bld top`

use crate::output::table;
use crate::session::{Outcome, Session};

/// Display the running processes of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options of ps(1), which runs on the host
    #[arg(value_name = "ps OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// How docker sets its columns here.
const WIDTH: usize = 20;
const GAP: usize = 3;

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let found = session.engine.container_processes(&args.container, &args.options)?;
    let lines: Vec<_> = std::iter::once(found.titles).chain(found.rows).collect();
    session.print(&table::align_by(WIDTH, GAP, &lines))?;
    Ok(0)
}
