//! The small process that holds a detached container.
//!
//! It is the same program started again with a hidden command, in a session of its own, so that it
//! outlives the terminal and the shell it was started from. Its standard output leads to whoever
//! launched it and carries one line of JSON: that the container runs, or why it could not be
//! started. After that the two have nothing to do with each other.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::{FileType, fstat};
use serde::{Deserialize, Serialize};

use super::Control;
use super::attach::Socket;
use super::model::Container;
use super::supervise::Holder;
use crate::error::{IoContext as _, in_one_line};
use crate::{Engine, EngineError, Result};

/// What is in front of a container's id where a command in it is to be held.
const EXEC: &str = "exec:";

/// What a monitor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    /// The container runs.
    Started,
    /// It could not be started.
    Failed {
        /// Why, with all causes.
        error: String,
        /// The exit code of the command that asked for it.
        code: i32,
    },
}

/// Starts a monitor for `container` and waits until the container runs. Who is at the other end of
/// `visitor` is attached to it from its first moment.
pub(super) fn launch(
    engine: &Engine,
    container: &Container,
    visitor: Option<Socket>,
) -> Result<()> {
    start(engine, container, &container.id, visitor)
}

/// Starts a process that holds a command in `container` for the one at the other end of `visitor`, and
/// waits until it runs.
pub(super) fn launch_exec(engine: &Engine, container: &Container, visitor: Socket) -> Result<()> {
    start(engine, container, &format!("{EXEC}{}", container.id), Some(visitor))
}

fn start(
    engine: &Engine,
    container: &Container,
    what: &str,
    visitor: Option<Socket>,
) -> Result<()> {
    let command = engine.config().monitor.as_deref().unwrap_or_default();
    let Some((program, args)) = command.split_first() else {
        return Err(EngineError::NotDetachable);
    };
    let dir = engine.container_dir(&container.id)?;
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    let log = dir.join("monitor.log");
    let errors = OpenOptions::new().create(true).append(true).open(&log).at("open", &log)?;
    let mut child = Command::new(program)
        .args(args)
        .arg(what)
        .current_dir("/")
        .stdin(visitor.map_or_else(Stdio::null, |socket| OwnedFd::from(socket).into()))
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .at("run", program)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).at("read from", program)?;
    }
    match serde_json::from_str(&line) {
        Ok(Report::Started) => Ok(()),
        Ok(Report::Failed { error, code }) => {
            // It ends now; nobody else would reap it.
            let _status = child.wait();
            Err(EngineError::StartReported { error, code })
        }
        Err(_) => {
            let status = child.wait().at("wait for", program)?;
            Err(EngineError::MonitorLost {
                program: program.clone(),
                status: status.to_string(),
                log,
            })
        }
    }
}

/// Holds the container `id` from its start to its end, or a command in it: what the monitor process does. `report` is
/// its standard output.
///
/// # Errors
/// When the container could not be started, which has been reported then, or its end not be
/// entered.
pub fn monitor(engine: &Engine, id: &str, report: &mut dyn Write) -> Result<()> {
    // Fails only for the leader of a process group, which already is on its own.
    let _leader = rustix::process::setsid();
    let control = Control::new()?;
    let visitor = visitor()?;
    let mut told = false;
    let mut started = || {
        told = true;
        tell(report, &Report::Started);
    };
    let result = match (id.strip_prefix(EXEC), visitor) {
        (Some(id), Some(visitor)) => engine.hold_exec(id, visitor, &control, &mut started),
        (_, visitor) => {
            let holder = Holder::Monitor(visitor);
            engine.run_held(id, holder, &control, &mut |_| started()).map(drop)
        }
    };
    if let Err(error) = &result
        && !told
    {
        let failed = Report::Failed { error: in_one_line(error), code: error.exit_code() };
        tell(report, &failed);
    }
    result
}

/// Who is attached from the first moment: our standard input is the way there.
fn visitor() -> Result<Option<Socket>> {
    let (stdin, what) = (io::stdin(), "standard input");
    let stat = fstat(&stdin).at("look at", what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Ok(None);
    }
    let socket = stdin.as_fd().try_clone_to_owned().at("duplicate", what)?;
    Ok(Some(socket.into()))
}

fn tell(report: &mut dyn Write, line: &Report) {
    // Whoever launched the monitor may have been killed; the container runs all the same.
    let _unheard = serde_json::to_writer(&mut *report, line);
    let _unheard = report.write_all(b"\n").and_then(|()| report.flush());
}

/// Whether `arg` is the hidden command of [`monitor`], for callers that look before parsing.
pub fn is_command(arg: &OsStr) -> bool {
    arg == COMMAND
}

/// The hidden command that runs [`monitor`].
pub const COMMAND: &str = "__monitor";
