//! Everything the child needs, made beforehand: it can only read.

#![expect(unsafe_code, reason = "arrays of pointers to C strings are not Send by themselves")]

use core::ffi::c_char;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use libc::sock_filter;

use crate::mounts::Prepared;
use crate::spec::Rlimit;
use crate::user::User;

/// What one child does.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where failures are written to; closed by a successful execve(2).
    pub(crate) report: RawFd,
    /// Descriptor of the calling process, when the child is to die with it.
    pub(crate) parent: Option<RawFd>,
    /// The child is born in a user namespace of its own: where it says that it is there, and where it
    /// hears that the namespace has ids.
    pub(crate) birth: Option<(OwnedFd, OwnedFd)>,
    /// The container that it joins has a user namespace of its own.
    pub(crate) joins_users: bool,
    /// `cgroup.procs` of the v1 groups to join.
    pub(crate) doors: Vec<File>,
    /// How to get into the container.
    pub(crate) entry: Entry,
    /// Standard streams; none: `/dev/null`.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    /// Standard input is to be the controlling terminal.
    pub(crate) terminal: bool,
    pub(crate) rlimits: Vec<Rlimit>,
    /// Text for `oom_score_adj`.
    pub(crate) oom_score_adj: Option<String>,
    pub(crate) user: User,
    /// Whether its groups can be set.
    pub(crate) sets_groups: bool,
    /// Bits of the capabilities that are left.
    pub(crate) capabilities: u64,
    pub(crate) seccomp: Option<Arc<[sock_filter]>>,
    pub(crate) no_new_privileges: bool,
    pub(crate) cwd: CString,
    /// What to run.
    pub(crate) command: Command,
}

/// How a child gets into its container.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It makes the container.
    Build(Box<Build>),
    /// It enters one that exists: the descriptor of its init.
    Join(OwnedFd),
}

/// What is needed to make a container.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) mounts: Prepared,
    /// A network namespace to enter.
    pub(crate) network: Option<OwnedFd>,
    /// A process whose IPC namespace to enter.
    pub(crate) ipc: Option<OwnedFd>,
    /// The network namespace is new and has to be given a loopback interface.
    pub(crate) loopback: bool,
    pub(crate) hostname: Option<String>,
    /// Paths below `/` and values.
    pub(crate) sysctls: Vec<(CString, String)>,
}

/// A command with every path it may have.
#[derive(Debug)]
pub(crate) struct Command {
    /// Paths to try in turn.
    pub(crate) programs: Vec<Program>,
    /// They come from a search in `PATH`: one that does not fit is passed over.
    pub(crate) searched: bool,
    pub(crate) argv: Strings,
    pub(crate) envp: Strings,
    /// The program of [`init`](crate::init).
    pub(crate) second: RawFd,
    /// When that is needed.
    pub(crate) by: By,
}

/// How a program is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By the child itself when it is no script, or else by the second program.
    Child,
    /// By the second program, as an init or because others are in the container already.
    Second,
}

/// One path.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: Arc<CStr>,
    /// Argument vector with which the second program executes this.
    pub(crate) second_argv: Strings,
}

/// A null-terminated array of C strings, as execve(2) takes it.
#[derive(Debug)]
pub(crate) struct Strings {
    pointers: Vec<*const c_char>,
    /// What the pointers point to.
    owned: Vec<Arc<CStr>>,
}

// SAFETY: the pointers lead to memory that this value keeps alive and nobody changes.
unsafe impl Send for Strings {}
// SAFETY: as above.
unsafe impl Sync for Strings {}

impl Strings {
    pub(crate) fn new(strings: Vec<Arc<CStr>>) -> Self {
        // Moving an Arc does not move what it points to.
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(core::ptr::null());
        Self { pointers, owned: strings }
    }

    /// The first string, or nothing.
    pub(crate) fn first(&self) -> String {
        self.owned.first().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
