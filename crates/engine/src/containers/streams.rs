//! The standard streams of a process in a container, and waiting for its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use bld_event::Stream;
use bld_sandbox::{ExitStatus, Process, Stdio, memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::attach::{self, Post, Request, Visit};
use super::control::{Command, Control};
use super::logs::LogWriter;
use super::relay::{self, Bell, Input, Io, SharedLog, Sinks};
use super::supervise::Exit;
use crate::error::IoContext as _;
use crate::{EngineError, Result};

/// Our ends of a process's standard streams.
pub(super) enum Streams {
    Terminal,
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

impl Streams {
    /// The streams of a process that is about to start, and our ends of them. With `stdin`, its
    /// input is open; a terminal is given `size`.
    pub(super) fn open(tty: bool, stdin: bool, size: Option<(u16, u16)>) -> Result<(Stdio, Self)> {
        if tty {
            let (rows, columns) = size.unwrap_or((0, 0));
            return Ok((Stdio::Terminal { rows, columns }, Self::Terminal));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).at("create", "a pipe");
        let ((out_read, stdout), (err_read, stderr)) = (pipe()?, pipe()?);
        let (stdin, ours) = if stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            let null = std::fs::File::open("/dev/null").at("open", "/dev/null")?;
            (null.into(), None)
        };
        let streams = Self::Pipes { stdin: ours, stdout: out_read, stderr: err_read };
        Ok((Stdio::Fds { stdin, stdout, stderr }, streams))
    }

    /// Starts the threads that carry the process's input and output.
    pub(super) fn carry(
        self,
        process: &mut Process,
        io: Io,
        log: Option<LogWriter>,
    ) -> Result<Relays> {
        let log: SharedLog = Arc::new(Mutex::new(log));
        let failed = "start a thread for";
        let what = "the container's streams";
        let mut relays = Relays {
            outputs: Vec::new(),
            stdout: Sinks::new(io.stdout),
            stderr: Sinks::new(io.stderr),
            ended: Bell::new().at("create", "an eventfd")?,
            inputs: Vec::new(),
            terminal: None,
            stdin: Weak::new(),
            idle_stdin: None,
            log,
        };
        let mut output = |from, stream, to: &Sinks| -> Result<()> {
            let (log, ended) = (Arc::clone(&relays.log), relays.ended.clone());
            let thread = relay::output(from, stream, to.clone(), log, ended);
            relays.outputs.push(thread.at(failed, what)?);
            Ok(())
        };
        let stdin = match self {
            Self::Terminal => {
                let terminal = process.take_terminal().ok_or(EngineError::NoTerminal)?;
                let duplicate = || terminal.try_clone().at("duplicate", "the terminal");
                output(duplicate()?, Stream::Stdout, &relays.stdout)?;
                let stdin = duplicate()?;
                relays.terminal = Some(terminal);
                Some(stdin)
            }
            Self::Pipes { stdin, stdout, stderr } => {
                output(stdout, Stream::Stdout, &relays.stdout)?;
                output(stderr, Stream::Stderr, &relays.stderr)?;
                stdin
            }
        };
        let stdin = stdin.map(Arc::new);
        relays.stdin = stdin.as_ref().map_or_else(Weak::new, Arc::downgrade);
        // Open, even if nobody writes: the container waits instead of seeing an end. A pipe ends with
        // the one who is there from the start; a terminal does not.
        if io.stdin.is_none() || relays.terminal.is_some() {
            relays.idle_stdin.clone_from(&stdin);
        }
        if let (Some(from), Some(to)) = (io.stdin, stdin) {
            relays.inputs.push(Input::start(from, to, None).at(failed, what)?);
        }
        Ok(relays)
    }
}

/// Runs a process of which nothing is logged from its start to its end. With `tty` it has a terminal;
/// with `stdin` its input is open.
pub(crate) fn attended(
    (tty, stdin): (bool, bool),
    io: Io,
    control: &Control,
    start: impl FnOnce(Stdio) -> Result<Process>,
) -> Result<Exit> {
    let (stdio, streams) = Streams::open(tty, stdin, io.size)?;
    let mut process = start(stdio)?;
    let mut relays = streams.carry(&mut process, io, None)?;
    let status = relays.attend(&mut process, control, None, &mut || {})?;
    relays.finish();
    Ok(Exit { code: status.code, oom_killed: status.oom_killed })
}

/// Whoever has had nothing to do for so long may have nothing to do for days.
const IDLE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The threads that carry a process's streams.
pub(super) struct Relays {
    outputs: Vec<JoinHandle<()>>,
    stdout: Sinks,
    stderr: Sinks,
    ended: Bell,
    inputs: Vec<Input>,
    terminal: Option<OwnedFd>,
    /// What the process reads from, as long as it is open.
    stdin: Weak<OwnedFd>,
    idle_stdin: Option<Arc<OwnedFd>>,
    log: SharedLog,
}

impl Relays {
    /// Does what `control` and those at the `post` ask until the process ends. What is asked about
    /// the container's networks, `refresh` does.
    pub(super) fn attend(
        &mut self,
        process: &mut Process,
        control: &Control,
        mut post: Option<&mut Post>,
        refresh: &mut dyn FnMut(),
    ) -> Result<ExitStatus> {
        let failed = |source| EngineError::Start { source };
        let mut idle = false;
        loop {
            let (ended, asked) = {
                let mut fds = vec![
                    PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(control.bell(), PollFlags::IN),
                ];
                fds.extend(post.iter().flat_map(|post| post.poll_fds()));
                let woken = if std::mem::take(&mut idle) {
                    memory::wait_small(&mut fds)
                } else {
                    poll(&mut fds, Some(&IDLE)).map_err(Into::into)
                };
                match woken {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(0) => {
                        idle = true;
                        continue;
                    }
                    other => other.at("wait for", "the container")?,
                };
                let asked = fds[2..].iter().any(|fd| !fd.revents().is_empty());
                (!fds[0].revents().is_empty(), asked)
            };
            for command in control.take() {
                match command {
                    Command::Signal(signal) => process.signal(signal).map_err(failed)?,
                    Command::Resize { rows, columns } => self.resize(rows, columns),
                }
            }
            for request in post.as_mut().filter(|_| asked).map_or_else(Vec::new, |p| p.requests()) {
                match request {
                    Request::Signal(signal) => process.signal(signal).map_err(failed)?,
                    Request::Resize { rows, columns } => self.resize(rows, columns),
                    Request::Attach(visit) => self.admit(visit)?,
                    Request::Refresh => {
                        refresh();
                        if let Some(post) = &mut post {
                            post.refreshed();
                        }
                    }
                }
            }
            if ended {
                return process.wait().map_err(failed);
            }
        }
    }

    /// Adds the streams of somebody who attaches.
    fn admit(&mut self, visit: Visit) -> Result<()> {
        let io = attach::io_of(visit);
        if let Some((rows, columns)) = io.size {
            self.resize(rows, columns);
        }
        io.stdout.into_iter().for_each(|sink| self.stdout.add(sink));
        io.stderr.into_iter().for_each(|sink| self.stderr.add(sink));
        self.inputs.retain(Input::is_running);
        if let (Some(from), Some(to)) = (io.stdin, self.stdin.upgrade()) {
            let input = Input::start(from, to, None);
            self.inputs.push(input.at("start a thread for", "the container's input")?);
        }
        Ok(())
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone needs no size.
            let _gone = tcsetwinsize(terminal, size);
        }
    }

    /// Waits until everything the process wrote has arrived.
    pub(super) fn finish(self) {
        self.ended.ring();
        drop(self.inputs);
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
