//! Holding a container from its start to its end.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bld_event::Stream;
use bld_sandbox::{Process, Stdio};
use bld_store::{ContainerLayer, StoreError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::control::{Command, Control};
use super::logs::LogWriter;
use super::model::{Container, LogDriver, Status};
use super::process::ProcessId;
use super::relay::{self, Input, Io, SharedLog};
use super::{decode, encode};
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of its first process; 128 + signal when a signal ended it.
    pub code: i32,
    /// The kernel killed something in it for lack of memory.
    pub oom_killed: bool,
}

impl Engine {
    /// Runs a container that was created or has ended before, and holds it until its end. `started`
    /// is called when it runs.
    ///
    /// A container that removes itself is gone when this returns, also on failure.
    ///
    /// # Errors
    /// [`EngineError::Start`] when its program could not be started: the container stays as it was,
    /// with the reason entered.
    pub fn run_container(
        &self,
        name: &str,
        io: Io,
        control: &Control,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let container = self.find_container(name)?;
        let layer = match self.store()?.container_layer(&container.id) {
            Ok(layer) => layer,
            Err(StoreError::SnapshotInUse { .. }) => {
                return Err(EngineError::AlreadyRunning { container: container.name });
            }
            Err(error) => return Err(error.into()),
        };
        let held = self.hold(container.clone(), &layer, io, control, started);
        drop(layer);
        if container.host.auto_remove {
            let discarded = self.discard(&container, true);
            return held.and_then(|exit| discarded.map(|()| exit));
        }
        held
    }

    fn hold(
        &self,
        mut container: Container,
        layer: &ContainerLayer,
        io: Io,
        control: &Control,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let dir = self.container_dir(&container.id)?;
        std::fs::create_dir_all(&dir).at("create", &dir)?;
        let log = match container.host.log {
            LogDriver::JsonFile => Some(LogWriter::open(&self.log_path(&container.id)?)?),
            LogDriver::None => None,
        };
        let network = self.prepare_network(&container)?;
        container.network.clone_from(&network.endpoint);
        let result = self.run_in_network(&mut container, layer, network, io, control, log, started);
        let released = self.release_network(&container);
        container.network = None;
        match &result {
            Ok(exit) => {
                container.state.status = Status::Exited;
                container.state.exit_code = exit.code;
                container.state.oom_killed = exit.oom_killed;
                container.state.finished = Some(SystemTime::now());
            }
            Err(error) => {
                container.state.exit_code = error.exit_code();
                container.state.error = error.to_string();
            }
        }
        container.state.process = None;
        container.state.holder = None;
        self.save(&container)?;
        let exit = result?;
        released?;
        Ok(exit)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `hold`, split off for its errors")]
    fn run_in_network(
        &self,
        container: &mut Container,
        layer: &ContainerLayer,
        network: super::network::Prepared,
        io: Io,
        control: &Control,
        log: Option<LogWriter>,
        started: &mut dyn FnMut(&Container),
    ) -> Result<Exit> {
        let (stdio, streams) = Streams::open(container, &io)?;
        let spec = self.spec(container, layer, network, stdio)?;
        let mut process =
            bld_sandbox::spawn(spec).map_err(|source| EngineError::Start { source })?;
        container.state.status = Status::Running;
        container.state.process = ProcessId::of(process.pid());
        container.state.holder = ProcessId::current();
        container.state.started = Some(SystemTime::now());
        container.state.error = String::new();
        container.state.oom_killed = false;
        self.save(container)?;
        started(container);
        let relays = streams.carry(&mut process, io, log)?;
        let status = relays.attend(&mut process, control)?;
        relays.finish();
        Ok(Exit { code: status.code, oom_killed: status.oom_killed })
    }

    /// Writes the container's document. Its name is the store's business.
    pub(super) fn save(&self, container: &Container) -> Result<Container> {
        let document = encode(container)?;
        decode(self.store()?.update_container(&container.id, |state| *state = document)?)
    }
}

/// Our ends of the container's standard streams.
enum Streams {
    Terminal,
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

impl Streams {
    fn open(container: &Container, io: &Io) -> Result<(Stdio, Self)> {
        if container.host.tty {
            let (rows, columns) = io.size.unwrap_or((0, 0));
            return Ok((Stdio::Terminal { rows, columns }, Self::Terminal));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).at("create", "a pipe");
        let ((out_read, stdout), (err_read, stderr)) = (pipe()?, pipe()?);
        let (stdin, ours) = if container.host.open_stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            let null = std::fs::File::open("/dev/null").at("open", "/dev/null")?;
            (null.into(), None)
        };
        let streams = Self::Pipes { stdin: ours, stdout: out_read, stderr: err_read };
        Ok((Stdio::Fds { stdin, stdout, stderr }, streams))
    }

    /// Starts the threads that carry the container's input and output.
    fn carry(self, process: &mut Process, io: Io, log: Option<LogWriter>) -> Result<Relays> {
        let log: SharedLog = Arc::new(Mutex::new(log));
        let failed = "start a thread for";
        let what = "the container's streams";
        let mut relays =
            Relays { outputs: Vec::new(), input: None, terminal: None, idle_stdin: None, log };
        let mut output = |from, stream, to| -> Result<()> {
            let log = Arc::clone(&relays.log);
            relays.outputs.push(relay::output(from, stream, to, log).at(failed, what)?);
            Ok(())
        };
        let stdin = match self {
            Self::Terminal => {
                let terminal = process.take_terminal().ok_or(EngineError::NoTerminal)?;
                let duplicate = || terminal.try_clone().at("duplicate", "the terminal");
                output(duplicate()?, Stream::Stdout, io.stdout)?;
                let stdin = duplicate()?;
                relays.terminal = Some(terminal);
                Some(stdin)
            }
            Self::Pipes { stdin, stdout, stderr } => {
                output(stdout, Stream::Stdout, io.stdout)?;
                output(stderr, Stream::Stderr, io.stderr)?;
                stdin
            }
        };
        match (io.stdin, stdin) {
            (Some(from), Some(to)) => relays.input = Some(Input::start(from, to).at(failed, what)?),
            // Open, but nobody writes: the container waits instead of seeing an end.
            (_, stdin) => relays.idle_stdin = stdin,
        }
        Ok(relays)
    }
}

/// The threads that carry a container's streams.
struct Relays {
    outputs: Vec<JoinHandle<()>>,
    input: Option<Input>,
    terminal: Option<OwnedFd>,
    idle_stdin: Option<OwnedFd>,
    log: SharedLog,
}

impl Relays {
    /// Does what `control` asks until the process ends.
    fn attend(&self, process: &mut Process, control: &Control) -> Result<bld_sandbox::ExitStatus> {
        let failed = |source| EngineError::Start { source };
        loop {
            let ended = {
                let mut fds = [
                    PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(control.bell(), PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other.at("wait for", "the container")?,
                };
                !fds[0].revents().is_empty()
            };
            for command in control.take() {
                match command {
                    Command::Signal(signal) => process.signal(signal).map_err(failed)?,
                    Command::Resize { rows, columns } => self.resize(rows, columns),
                }
            }
            if ended {
                return process.wait().map_err(failed);
            }
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone needs no size.
            let _gone = tcsetwinsize(terminal, size);
        }
    }

    /// Waits until everything the container wrote has arrived.
    fn finish(self) {
        drop(self.input);
        drop(self.idle_stdin);
        drop(self.terminal);
        for output in self.outputs {
            let _ended = output.join();
        }
        if let Some(log) = self.log.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The disk may be full; the container has ended all the same.
            let _unwritten = log.finish();
        }
    }
}
