//! `bld exec`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use bld_engine::containers::{Control, Departure, ExecRequest};

use super::{options, run};
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Execute a command in a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    keys: run::Keys,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
    /// Everything from the container on is the command's, whatever it looks like.
    #[arg(required = true, value_names = ["CONTAINER", "COMMAND", "ARG"], num_args = 2.., trailing_var_arg = true)]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let (container, command) =
        args.words.split_first().ok_or_else(|| Failure::new("no container"))?;
    let request = ExecRequest {
        container: container.clone(),
        command: command.to_vec(),
        env: options::environment(&args.env_file, &args.env)?,
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        tty: args.tty && !args.detach,
        open_stdin: args.interactive && !args.detach,
        privileged: args.privileged,
    };
    if args.detach {
        session.engine.exec_detached(&request).map_err(failed)?;
        return Ok(0);
    }
    if request.tty && request.open_stdin && !io::stdin().is_terminal() {
        return Err(run::no_terminal());
    }
    let keys = args.keys.parse()?;
    let control = Control::new()?;
    let streams = run::Streams { stdin: request.open_stdin, stdout: true, stderr: true };
    // Docker passes no signals on here; the command dies with this process.
    run::with_streams(&control, streams, request.tty, false, |io| {
        let engine = &session.engine;
        if !(request.tty && request.open_stdin) {
            return engine.exec_container(&request, io, &control).map_err(failed);
        }
        match engine.exec_attached(&request, io, &control, keys).map_err(failed)? {
            Departure::Ended(exit) => Ok(exit),
            Departure::Detached => Err(Failure::new("read escape sequence")),
        }
    })
}

/// As docker: 126 and 127 when the program is at fault, else 1.
fn failed(error: bld_engine::EngineError) -> Failure {
    match u8::try_from(error.exit_code()) {
        Ok(code @ (126 | 127)) => Failure::from(error).with_code(code),
        _ => error.into(),
    }
}
