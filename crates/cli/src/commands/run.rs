//! `bld run`

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd as _;

use bld_engine::EngineError;
use bld_engine::containers::{Container, Control, Departure, DetachKeys, Exit, Io};
use nix::sys::signal::Signal;

use super::create;
use super::options::Options;
use crate::error::Failure;
use crate::session::{Outcome, Session};
use crate::signals;
use crate::terminal::{self, Raw};

/// Exit code for what went wrong before the container's program had its turn.
const ENGINE_FAILED: u8 = 125;

/// Create and run a new container from an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    keys: Keys,
    /// Proxy received signals to the process (use =false to turn it off)
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    /// Everything from the image on is the container's, whatever it looks like.
    #[arg(required = true, value_names = ["IMAGE", "COMMAND", "ARG"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,
}

/// How a container is left that runs on.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Keys {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
}

impl Keys {
    pub(super) fn parse(&self) -> Result<DetachKeys, Failure> {
        Ok(DetachKeys::parse(&self.detach_keys)?)
    }
}

/// Which streams of a container are ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    match start(args, session) {
        Ok(code) => Ok(code),
        Err(failure) if failure.code == 1 => Err(failure.with_code(ENGINE_FAILED)),
        Err(failure) => Err(failure),
    }
}

fn start(args: &Args, session: &Session) -> Outcome {
    let streams = streams(args)?;
    let keys = args.keys.parse()?;
    if args.options.tty && streams.stdin && !args.detach && !io::stdin().is_terminal() {
        // Not a failure of the engine, and docker's code for it.
        no_terminal().print("Error: ");
        return Ok(1);
    }
    let request = args.options.request(&args.words)?;
    let container = create::create(session, &args.options, &request)?;
    if args.detach {
        session.engine.start_container(&container.id).map_err(failed)?;
        session.say(&container.id)?;
        return Ok(0);
    }
    foreground(session, &container, streams, args.sig_proxy, keys)
}

/// Somebody wants to type, but not on a terminal.
pub(super) fn no_terminal() -> Failure {
    Failure::new("the input device is not a TTY")
}

/// What `--attach` and `--interactive` choose.
fn streams(args: &Args) -> Result<Streams, Failure> {
    let attach = &args.options.attach;
    if attach.is_empty() {
        return Ok(Streams { stdin: args.options.interactive, stdout: true, stderr: true });
    }
    if args.detach {
        return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
    }
    let mut streams = Streams { stdin: false, stdout: false, stderr: false };
    for name in attach {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            _ => {
                return Err(Failure::new(format!(
                    "invalid argument {name:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
                )));
            }
        }
    }
    Ok(streams)
}

/// Runs a container and stays with it until it ends or is left by `keys`; the exit code of its
/// process.
pub(super) fn foreground(
    session: &Session,
    container: &Container,
    streams: Streams,
    proxy: bool,
    keys: DetachKeys,
) -> Outcome {
    let control = Control::new()?;
    let (engine, id, tty) = (&session.engine, &container.id, container.host.tty);
    let stdin = streams.stdin && container.host.open_stdin;
    let leaves = tty && stdin;
    with_streams(&control, Streams { stdin, ..streams }, tty, proxy, |io| {
        // One that can go on without us needs somebody else to hold it.
        if !leaves && !container.is_restarted() {
            return engine.run_container(id, io, &control, &mut |_| {}).map_err(failed);
        }
        let keys = leaves.then_some(keys);
        match engine.start_attached(id, io, &control, keys).map_err(failed)? {
            Departure::Ended(exit) => Ok(exit),
            Departure::Detached => Ok(Exit { code: 0, oom_killed: false }),
        }
    })
}

/// Does `work` with our streams as a process's, and with our terminal lent to it; its exit code.
pub(super) fn with_streams(
    control: &Control,
    streams: Streams,
    tty: bool,
    proxy: bool,
    work: impl FnOnce(Io) -> Result<Exit, Failure>,
) -> Outcome {
    // Before any thread is started, so that every thread leaves the signals to the one that reads.
    watch_signals(control, proxy, tty)?;
    let raw = if tty && streams.stdin { Raw::enter()? } else { None };
    let exit = work(streams_of(streams, tty)?);
    drop(raw);
    Ok(u8::try_from(exit?.code).unwrap_or(u8::MAX))
}

/// Our streams, to be a process's.
pub(super) fn streams_of(streams: Streams, tty: bool) -> io::Result<Io> {
    Ok(Io {
        stdin: if streams.stdin { Some(io::stdin().as_fd().try_clone_to_owned()?) } else { None },
        stdout: writer(streams.stdout, &io::stdout())?,
        stderr: writer(streams.stderr && !tty, &io::stderr())?,
        size: if tty { terminal::size() } else { None },
    })
}

/// Passes signals on to the container, and changes of the terminal's size.
fn watch_signals(control: &Control, proxy: bool, tty: bool) -> Result<(), Failure> {
    let mut signals = Vec::new();
    if proxy {
        // All that make sense to pass on; what stops or traces us is ours.
        let kept = [
            Signal::SIGKILL,
            Signal::SIGSTOP,
            Signal::SIGCHLD,
            Signal::SIGPIPE,
            Signal::SIGURG,
            Signal::SIGWINCH,
            Signal::SIGTSTP,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGFPE,
            Signal::SIGILL,
            Signal::SIGTRAP,
            Signal::SIGABRT,
        ];
        signals.extend(Signal::iterator().filter(|signal| !kept.contains(signal)));
    }
    if tty {
        signals.push(Signal::SIGWINCH);
    }
    let control = control.clone();
    signals::handle(&signals, move |signal| match signal {
        Signal::SIGWINCH => {
            if let Some((rows, columns)) = terminal::size() {
                control.resize(rows, columns);
            }
        }
        signal => control.signal(signal as i32),
    })?;
    Ok(())
}

/// A writer to one of our streams that holds nothing back.
fn writer(
    wanted: bool,
    stream: &impl std::os::fd::AsFd,
) -> io::Result<Option<Box<dyn Write + Send>>> {
    if !wanted {
        return Ok(None);
    }
    Ok(Some(Box::new(File::from(stream.as_fd().try_clone_to_owned()?))))
}

/// A failed start has the exit code that says whose fault it was.
fn failed(error: EngineError) -> Failure {
    let code = u8::try_from(error.exit_code()).unwrap_or(ENGINE_FAILED);
    Failure::from(error).with_code(code)
}
