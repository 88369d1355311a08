//! How the child tells what went wrong.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// What the child does, in order. Its numbers go through a pipe within one program, so they may
/// change freely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    UserNamespace,
    DieWithParent,
    JoinCgroup,
    CgroupNamespace,
    NetworkNamespace,
    IpcNamespace,
    Loopback,
    EnterContainer,
    Session,
    Propagation,
    /// With the index of the attachment.
    Mount,
    /// With the index of the parameter.
    Sysctl,
    Mask,
    ReadOnlyPaths,
    PivotRoot,
    Hostname,
    /// With the index of the limit.
    Rlimit,
    OomScore,
    Stdio,
    Terminal,
    Descriptors,
    Bounding,
    Groups,
    Seccomp,
    User,
    Capabilities,
    NoNewPrivileges,
    Cwd,
    CwdOutside,
    Signals,
    ProgramMissing,
    ProgramIsDirectory,
    ProgramNotPermitted,
    InterpreterMissing,
    HandOver,
    Exec,
}

impl Step {
    const ALL: [Self; 36] = [
        Self::UserNamespace,
        Self::DieWithParent,
        Self::JoinCgroup,
        Self::CgroupNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::Loopback,
        Self::EnterContainer,
        Self::Session,
        Self::Propagation,
        Self::Mount,
        Self::Sysctl,
        Self::Mask,
        Self::ReadOnlyPaths,
        Self::PivotRoot,
        Self::Hostname,
        Self::Rlimit,
        Self::OomScore,
        Self::Stdio,
        Self::Terminal,
        Self::Descriptors,
        Self::Bounding,
        Self::Groups,
        Self::Seccomp,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Cwd,
        Self::CwdOutside,
        Self::Signals,
        Self::ProgramMissing,
        Self::ProgramIsDirectory,
        Self::ProgramNotPermitted,
        Self::InterpreterMissing,
        Self::HandOver,
        Self::Exec,
    ];

    /// What was attempted, as a verb phrase.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::UserNamespace => "make a user namespace",
            Self::DieWithParent => "tie the container to the calling process",
            Self::JoinCgroup => "join the control group",
            Self::CgroupNamespace => "make a cgroup namespace",
            Self::NetworkNamespace => "enter the network namespace",
            Self::IpcNamespace => "enter the namespace of shared memory",
            Self::Loopback => "bring the loopback interface up",
            Self::EnterContainer => "enter the container's namespaces",
            Self::Session => "start a session",
            Self::Propagation => "detach from the host's mounts",
            Self::Mount => "mount",
            Self::Sysctl => "set kernel parameter",
            Self::Mask => "mask kernel files",
            Self::ReadOnlyPaths => "make kernel files read-only",
            Self::PivotRoot => "change the root directory",
            Self::Hostname => "set the host name",
            Self::Rlimit => "set resource limit",
            Self::OomScore => "set the OOM score",
            Self::Stdio => "connect standard streams",
            Self::Terminal => "set the controlling terminal",
            Self::Descriptors => "close inherited descriptors",
            Self::Bounding => "restrict the capability bounding set",
            Self::Groups => "set groups",
            Self::Seccomp => "install the system call filter",
            Self::User => "set the user",
            Self::Capabilities => "set capabilities",
            Self::NoNewPrivileges => "renounce new privileges",
            Self::Cwd | Self::CwdOutside => "change to the working directory",
            Self::Signals => "restore signals",
            Self::HandOver => "execute the second program",
            Self::ProgramMissing
            | Self::ProgramIsDirectory
            | Self::ProgramNotPermitted
            | Self::InterpreterMissing
            | Self::Exec => "execute the program",
        }
    }
}

/// A step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    /// Which of several, where the step says so.
    pub(crate) index: u32,
    pub(crate) errno: Errno,
}

impl Failure {
    const SIZE: usize = 12;

    pub(super) fn new(step: Step, errno: Errno) -> Self {
        Self { step, index: 0, errno }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let words = [self.step as u32, self.index, self.errno.raw_os_error() as u32];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let ([step, index, errno], []) = bytes.as_chunks() else { return None };
        Some(Self {
            step: *Step::ALL.get(u32::from_ne_bytes(*step) as usize)?,
            index: u32::from_ne_bytes(*index),
            errno: Errno::from_raw_os_error(i32::from_ne_bytes(*errno)),
        })
    }
}

/// What the child writes before it lets the second program execute the container's.
pub(super) const HANDED_OVER: u8 = b'>';

/// Reads what the child has to say, from the other end of its pipe, which must not block.
///
/// When the child is launched it has executed its program or ended, so everything is in the pipe by
/// now; an empty pipe means success, even if a child of another thread still holds its other end.
/// Only after a [`HANDED_OVER`] is the rest to be waited for: an error number, a failure of the
/// hand-over itself, or the end that a successful execve(2) makes.
pub(crate) fn read(pipe: impl AsFd) -> Option<Failure> {
    let mut text = [0; 1 + Failure::SIZE];
    let mut length = 0;
    loop {
        match rustix::io::read(&pipe, &mut text[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if length > 0 && text[0] == HANDED_OVER => {
                let mut readable = [PollFd::new(&pipe, PollFlags::IN)];
                // An error shows when it is read from again.
                let _ = poll(&mut readable, None);
            }
            Err(_) => break,
        }
        if length == text.len() {
            break;
        }
    }
    match text.get(..length)? {
        [HANDED_OVER, errno @ ..] if errno.len() == 4 => {
            let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno.try_into().ok()?));
            // The path was there, so what is missing is what it names.
            let missing = errno == Errno::NOENT;
            let step = if missing { Step::InterpreterMissing } else { Step::Exec };
            Some(Failure::new(step, errno))
        }
        [HANDED_OVER, failure @ ..] | failure => Failure::from_bytes(failure.try_into().ok()?),
    }
}

/// Says which step a system call belongs to.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
    fn at_index(self, step: Step, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, index: index as u32, errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_pipe() {
        for (n, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, n);
            let failure = Failure { step, index: 7, errno: Errno::NOENT };
            assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes([255; Failure::SIZE]), None);
    }

    fn reads(text: &[u8]) -> Option<Failure> {
        let flags = rustix::pipe::PipeFlags::NONBLOCK;
        let (output, input) = rustix::pipe::pipe_with(flags).unwrap();
        rustix::io::write(&input, text).unwrap();
        drop(input);
        read(output)
    }

    #[test]
    fn everything_a_child_can_say() {
        let failure = Failure { step: Step::Mount, index: 3, errno: Errno::PERM };
        let bytes = failure.to_bytes();
        assert_eq!(reads(b""), None);
        assert_eq!(reads(b">"), None);
        assert_eq!(reads(&bytes), Some(failure));
        assert_eq!(reads(&[b">", &bytes[..]].concat()), Some(failure));
        let late = |errno: i32| reads(&[b">", &errno.to_ne_bytes()[..]].concat());
        assert_eq!(late(libc::ENOEXEC), Some(Failure::new(Step::Exec, Errno::NOEXEC)));
        let missing = Failure::new(Step::InterpreterMissing, Errno::NOENT);
        assert_eq!(late(libc::ENOENT), Some(missing));
    }

    #[test]
    fn an_open_but_empty_pipe_is_success() {
        let flags = rustix::pipe::PipeFlags::NONBLOCK;
        let (output, _input) = rustix::pipe::pipe_with(flags).unwrap();
        assert_eq!(read(output), None);
    }
}
