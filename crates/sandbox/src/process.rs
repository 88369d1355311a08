//! A running container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::cgroup::{Cgroup, Limits, Stats};
use crate::error::SandboxError;
use crate::mounts::Stubs;

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

/// What has to be taken away when a container has ended, or has not come about.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) stubs: Option<Stubs>,
    /// The container has no process numbers of its own: what runs in it does not end with its first
    /// process, and has to be killed.
    pub(crate) outlives: bool,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.as_ref().filter(|_| self.outlives) {
            // What is stuck there is found by the next sweep.
            let _ = cgroup.kill();
        }
        if let Some(stubs) = self.stubs.take() {
            stubs.remove();
        }
        if let Some(cgroup) = self.cgroup.take() {
            // What is stuck there is found by the next sweep.
            let _ = cgroup.remove();
        }
    }
}

/// A running container, or a process that was started in one. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    handle: Handle,
    pid: i32,
    terminal: Option<OwnedFd>,
    status: Option<ExitStatus>,
    leftovers: Leftovers,
}

impl Process {
    pub(crate) fn new(
        pid: i32,
        pidfd: OwnedFd,
        terminal: Option<OwnedFd>,
        leftovers: Leftovers,
    ) -> Self {
        let handle = Handle { pidfd: Arc::new(pidfd), cgroup: leftovers.cgroup.clone() };
        Self { handle, pid, terminal, status: None, leftovers }
    }

    /// The process number in the caller's namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the process has ended, see pidfd_open(2).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.handle.pidfd.as_fd()
    }

    /// The caller's side of the terminal, once, when there is one. Reading from it fails with `EIO`
    /// when the last process with the terminal has ended.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Mount points that had to be made in the upper directory, absolute in the container. They are
    /// there until the process has been waited for, and are none of its changes: whoever looks at
    /// the upper directory before that has to pass over them.
    pub fn stubs(&self) -> Vec<PathBuf> {
        self.leftovers.stubs.iter().flat_map(Stubs::paths).map(Path::to_owned).collect()
    }

    /// A handle for other threads, which can signal while this one waits.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end, then removes what the container needed: its control group, and mount
    /// points that were made for it. Later calls give the same.
    ///
    /// # Errors
    /// The process was waited for behind this value's back.
    pub fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        loop {
            if let Some(status) = self.poll(WaitIdOptions::EXITED)? {
                return Ok(status);
            }
        }
    }

    /// Like [`wait`](Self::wait), but gives none at once while the process runs.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, SandboxError> {
        self.poll(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn poll(&mut self, options: WaitIdOptions) -> Result<Option<ExitStatus>, SandboxError> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let end = match waitid(WaitId::PidFd(self.handle.pidfd.as_fd()), options) {
            Ok(Some(end)) => end,
            Ok(None) | Err(Errno::INTR) => return Ok(None),
            Err(e) => return Err(SandboxError::setup("wait for the container", e)),
        };
        let signal = end.terminating_signal();
        let code = end.exit_status().or(signal.map(|s| 128 + s)).unwrap_or(255);
        let oom_killed = self.leftovers.cgroup.as_ref().is_some_and(|c| c.oom_kills() > 0);
        self.status = Some(ExitStatus { code, signal, oom_killed });
        self.leftovers = Leftovers::default();
        Ok(self.status)
    }

    /// Sends a signal to the process. One that has ended is no error.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        self.handle.signal(signal)
    }

    /// Kills the process and, with it, everything in the container whose first process it is.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn kill_all(&self) -> Result<(), SandboxError> {
        self.handle.kill_all()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Nobody is left to hear of failures.
            let _ = self.kill_all();
            let _ = self.wait();
        }
    }
}

/// Signals a container from any thread, also after it has ended.
#[derive(Debug, Clone)]
pub struct Handle {
    pidfd: Arc<OwnedFd>,
    cgroup: Option<Cgroup>,
}

impl Handle {
    /// Sends a signal to the process. One that has ended is no error.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        #[expect(unsafe_code, reason = "real-time signals of the C library are numbers as any")]
        // SAFETY: the kernel checks the number; sending a signal does nothing to this process.
        let number = unsafe { Signal::from_raw_unchecked(signal) };
        match pidfd_send_signal(&self.pidfd, number) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(SandboxError::setup(format!("send signal {signal}"), e)),
        }
    }

    /// Kills the process and, with it, everything in the container whose first process it is: the
    /// kernel ends a PID namespace with its first process.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn kill_all(&self) -> Result<(), SandboxError> {
        self.signal(libc::SIGKILL)?;
        // What is frozen in v1 dies only when it is thawed.
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.thaw();
        }
        Ok(())
    }

    /// Stops everything in the container until [`thaw`](Self::thaw).
    ///
    /// # Errors
    /// It has no control group, or does not stop within seconds.
    pub fn freeze(&self) -> Result<(), SandboxError> {
        Ok(self.cgroup()?.freeze()?)
    }

    /// Lets everything run again.
    ///
    /// # Errors
    /// It has no control group.
    pub fn thaw(&self) -> Result<(), SandboxError> {
        Ok(self.cgroup()?.thaw()?)
    }

    /// Changes the limits that are given.
    ///
    /// # Errors
    /// It has no control group, or none with that controller.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), SandboxError> {
        Ok(self.cgroup()?.set_limits(limits)?)
    }

    /// What the container has used; none without a control group.
    pub fn stats(&self) -> Option<Stats> {
        self.cgroup.as_ref().map(Cgroup::stats)
    }

    fn cgroup(&self) -> Result<&Cgroup, SandboxError> {
        self.cgroup.as_ref().ok_or_else(|| {
            SandboxError::setup(
                "find the container's control group",
                io::Error::from(io::ErrorKind::NotFound),
            )
        })
    }
}
