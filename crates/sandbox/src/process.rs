//! A running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::cgroup::Stats;
use crate::error::SandboxError;
use crate::spec::Spec;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// Exit code; 128 + signal when a signal ended it, as shells and Docker count.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed something in the container for lack of memory.
    pub oom_killed: bool,
}

impl ExitStatus {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// A running container. Dropping it kills and reaps everything in it.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Process {
    /// The process number in the caller's namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the process has ended, see pidfd_open(2).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The caller's side of the terminal, once, when there is one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// A handle for other threads, which can signal while this one waits.
    pub fn handle(&self) -> Handle {
        Handle {}
    }

    /// Waits for the end, then removes what the container needed. Later calls give the same.
    pub fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        Err(SandboxError::Invalid("not yet".to_owned()))
    }

    /// Like [`wait`](Self::wait), but gives none at once while the process runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, SandboxError> {
        Ok(None)
    }

    /// Sends a signal to the process. One that has ended is no error.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        self.handle().signal(signal)
    }

    /// Kills everything in the container.
    pub fn kill_all(&self) -> Result<(), SandboxError> {
        self.handle().kill_all()
    }
}

/// Signals a container from any thread, also after it has ended.
#[derive(Debug, Clone)]
pub struct Handle {}

impl Handle {
    /// Sends a signal to the process. One that has ended is no error.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        let _ = signal;
        Ok(())
    }

    /// Kills everything in the container.
    pub fn kill_all(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// Stops everything in the container until [`thaw`](Self::thaw).
    pub fn freeze(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// Lets everything run again.
    pub fn thaw(&self) -> Result<(), SandboxError> {
        Ok(())
    }

    /// What the container has used; none without a control group.
    pub fn stats(&self) -> Result<Option<Stats>, SandboxError> {
        Ok(None)
    }
}

/// Starts a container. It runs when this returns: the program was found and executed.
///
/// # Errors
/// [`SandboxError::NotFound`] and [`SandboxError::NotExecutable`] when the program is at fault,
/// others when the set-up is. Nothing is left behind.
pub fn spawn(spec: Spec) -> Result<Process, SandboxError> {
    drop(spec);
    Err(SandboxError::Invalid("not yet".to_owned()))
}
