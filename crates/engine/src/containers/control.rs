//! Telling the holder of a container what to do, from any thread.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::Result;
use crate::error::IoContext as _;

/// What can be asked of the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Send the container this signal.
    Signal(i32),
    /// Give its terminal this size.
    Resize { rows: u16, columns: u16 },
}

/// A handle on a container that this process holds. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Mutex<VecDeque<Command>>,
    /// Readable while the queue has something.
    bell: OwnedFd,
}

impl Control {
    /// A handle to be given to [`Engine::run_container`](crate::Engine::run_container).
    pub fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = eventfd(0, flags).at("create", "an eventfd")?;
        Ok(Self(Arc::new(Inner { queue: Mutex::default(), bell })))
    }

    /// Sends the container's first process a signal, as soon as it runs.
    pub fn signal(&self, signal: i32) {
        self.push(Command::Signal(signal));
    }

    /// Gives the container's terminal another size, in characters.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.push(Command::Resize { rows, columns });
    }

    fn push(&self, command: Command) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        // Full means that it rings already.
        let _rings = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }

    /// Becomes readable when there is a command.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    /// All commands so far.
    pub(super) fn take(&self) -> VecDeque<Command> {
        let mut count = [0; 8];
        let _quiet = rustix::io::read(&self.0.bell, &mut count);
        std::mem::take(&mut *self.0.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
