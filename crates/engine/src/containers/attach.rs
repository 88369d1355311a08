//! Attaching to a container that another process holds.

mod keys;
mod post;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bld_event::Stream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

pub use self::keys::DetachKeys;
pub(super) use self::post::{Post, Request, Visit};
pub(super) use self::wire::{Message, Socket};
use super::control::Command;
use super::relay::{self, Bell, Input, Sinks};
use super::{Container, Control, Exit, Io, Status};
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// How somebody came away from a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It ended.
    Ended(Exit),
    /// The detach keys were typed, and it runs on.
    Detached,
}

impl Engine {
    /// Attaches to a container that runs, until it ends or `keys` are typed. Nothing is read from
    /// standard input unless the container keeps its own open.
    ///
    /// # Errors
    /// When the container does not run, or its holder is killed.
    pub fn attach_container(
        &self,
        name: &str,
        mut io: Io,
        control: &Control,
        keys: Option<DetachKeys>,
    ) -> Result<Departure> {
        let container = self.find_container(name)?;
        let state = match container.state.status {
            Status::Running => None,
            Status::Paused => Some("paused container, unpause it first"),
            Status::Restarting => Some("restarting container, wait until it is running"),
            Status::Created | Status::Exited => Some("stopped container, start it first"),
        };
        if let Some(state) = state {
            return Err(EngineError::NotAttachable { state });
        }
        if !container.host.open_stdin {
            io.stdin = None;
        }
        let dir = self.container_dir(&container.id)?;
        let socket = Socket::connect(&dir).at("attach to", &container.name)?;
        let visit = Visiting::begin(&socket, io, keys).at("attach to", &container.name)?;
        self.announce_container(&container, "attach");
        visit.stay(self, &container, &socket, control, &|| settled(self, &container))
    }

    /// Starts a container like [`start_container`](Self::start_container), and is attached to it
    /// from its first moment until it ends or `keys` are typed.
    ///
    /// # Errors
    /// As [`run_container`](Self::run_container); also when its holder is killed.
    pub fn start_attached(
        &self,
        name: &str,
        io: Io,
        control: &Control,
        keys: Option<DetachKeys>,
    ) -> Result<Departure> {
        let container = self.find_container(name)?;
        if container.state.is_running() {
            return self.attach_container(name, io, control, keys);
        }
        let failed = "attach to";
        let (socket, theirs) = Socket::pair().at(failed, &container.name)?;
        let visit = Visiting::begin(&socket, io, keys).at(failed, &container.name)?;
        super::monitor::launch(self, &container, Some(theirs))?;
        visit.stay(self, &container, &socket, control, &|| settled(self, &container))
    }
}

/// Our side of the pipes.
pub(super) struct Visiting {
    input: Option<Input>,
    outputs: Vec<JoinHandle<()>>,
    left: Bell,
    detached: Bell,
}

impl Visiting {
    /// Hands the holder the other ends of our streams.
    pub(super) fn begin(socket: &Socket, io: Io, keys: Option<DetachKeys>) -> io::Result<Self> {
        let (left, detached) = (Bell::new()?, Bell::new()?);
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let stdin = io.stdin.map(|ours| pipe().map(|(read, write)| (ours, read, write)));
        let stdin = stdin.transpose()?;
        let mut theirs: Vec<OwnedFd> = Vec::new();
        let message = Message::Attach {
            stdin: stdin.is_some(),
            stdout: io.stdout.is_some(),
            stderr: io.stderr.is_some(),
            size: io.size,
        };
        let input = match stdin {
            Some((ours, read, write)) => {
                theirs.push(read);
                let keys = keys.map(|keys| (keys, detached.clone()));
                Some(Input::start(ours, Arc::new(write), keys)?)
            }
            None => None,
        };
        let mut outputs = Vec::new();
        for (stream, to) in [(Stream::Stdout, io.stdout), (Stream::Stderr, io.stderr)] {
            if let Some(to) = to {
                let (read, write) = pipe()?;
                theirs.push(write);
                let log = Arc::new(Mutex::new(None));
                outputs.push(relay::output(read, stream, Sinks::new(Some(to)), log, left.clone())?);
            }
        }
        let theirs: Vec<_> = theirs.iter().map(|fd| fd.as_fd()).collect();
        socket.send(&message, &theirs)?;
        Ok(Self { input, outputs, left, detached })
    }

    /// Passes on what `control` asks until the end, of which `lost` is asked where the holder was killed.
    pub(super) fn stay(
        self,
        engine: &Engine,
        container: &Container,
        socket: &Socket,
        control: &Control,
        lost: &dyn Fn() -> Result<Departure>,
    ) -> Result<Departure> {
        let name = || format!("container {}", container.name);
        let departure = loop {
            let [ended, detached] = {
                let mut fds = [
                    PollFd::new(socket, PollFlags::IN),
                    PollFd::new(&self.detached, PollFlags::IN),
                    PollFd::from_borrowed_fd(control.bell(), PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other.at("wait for", name())?,
                };
                [0, 1].map(|index: usize| !fds[index].revents().is_empty())
            };
            for command in control.take() {
                let message = match command {
                    Command::Signal(signal) => Message::Signal(signal),
                    Command::Resize { rows, columns } => Message::Resize { rows, columns },
                };
                // A holder that is gone is found out about below.
                let _gone = socket.send(&message, &[]);
            }
            if ended {
                match socket.receive(true) {
                    Ok(Some((Message::Ended(exit), _))) => break Departure::Ended(exit),
                    Ok(Some(_)) => {}
                    // The holder was killed; whoever looks next learns how it ended.
                    Ok(None) | Err(_) => break lost()?,
                }
            } else if detached {
                break Departure::Detached;
            }
        };
        drop(self.input);
        self.left.ring();
        for output in self.outputs {
            let _ended = output.join();
        }
        if departure == Departure::Detached {
            let _gone = socket.send(&Message::Leave, &[]);
            engine.announce_container(container, "detach");
        }
        Ok(departure)
    }
}

/// How a container ended whose holder cannot say.
fn settled(engine: &Engine, container: &Container) -> Result<Departure> {
    engine.wait_until_settled(container)?;
    let state = engine.find_container(&container.id)?.state;
    Ok(Departure::Ended(Exit { code: state.exit_code, oom_killed: state.oom_killed }))
}

/// The streams of somebody who attaches, as those of the container's holder.
pub(super) fn io_of(visit: Visit) -> Io {
    let writer = |fd: OwnedFd| Box::new(File::from(fd)) as Box<dyn io::Write + Send>;
    Io {
        stdin: visit.stdin,
        stdout: visit.stdout.map(writer),
        stderr: visit.stderr.map(writer),
        size: visit.size,
    }
}
