//! Another process in a container that runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::capabilities::Capabilities;
use crate::cgroup::Cgroup;
use crate::command::{c_string, command};
use crate::error::SandboxError;
use crate::ids::{Ids, Shift};
use crate::init::Role;
use crate::launcher::{Launch, launch};
use crate::mounts::open_terminal;
use crate::plan::{By, Entry, Plan};
use crate::process::{Leftovers, Process};
use crate::seccomp;
use crate::spawn::{report_pipe, running, this_process, three};
use crate::spec::{Rlimit, Seccomp, Stdio};
use crate::user::User;

/// One more process in a container. See [`Spec`](crate::Spec) for fields of the same name.
#[derive(Debug)]
pub struct ExecSpec {
    /// Argument vector; the first is looked up in `PATH` of `env` unless it has a slash.
    pub args: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory, absolute. It must exist.
    pub cwd: String,
    /// Whom the process runs as.
    pub user: User,
    /// What root may do.
    pub capabilities: Capabilities,
    /// System call filter.
    pub seccomp: Seccomp,
    /// No program gives more rights than its caller has.
    pub no_new_privileges: bool,
    /// All capabilities and no filter. Mounts and devices stay the container's.
    pub privileged: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Standard streams.
    pub stdio: Stdio,
    /// It is killed when the calling process dies.
    pub die_with_parent: bool,
}

impl ExecSpec {
    /// Runs `args` as root in `/` with Docker's defaults and no streams.
    pub fn new(args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            capabilities: Capabilities::docker(),
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            privileged: false,
            rlimits: Vec::new(),
            stdio: Stdio::Null,
            die_with_parent: true,
        }
    }
}

/// Starts a process in the namespaces and the control group of a container, whose first process is
/// `pid`. The caller makes sure that the number is still that container's.
///
/// What runs in there may be hostile, and sees the new process from its birth. So that process
/// shares no memory with the caller, cannot be looked into until it has executed its program, and
/// does that through a stepping stone, so that nothing leads to the caller's executable. Killing
/// the [`Process`] kills it alone; its children are adopted by the container's first process.
///
/// # Errors
/// As [`spawn`](crate::spawn); also when the container has ended.
pub fn exec_in(pid: i32, spec: ExecSpec) -> Result<Process, SandboxError> {
    if spec.args.is_empty() {
        return Err(SandboxError::Invalid("there is nothing to run".to_owned()));
    }
    if !spec.cwd.starts_with('/') {
        return Err(SandboxError::Invalid(format!(
            "working directory {:?} is not absolute",
            spec.cwd
        )));
    }
    Ids::own().check(&spec.user)?;
    let failed =
        |e: io::Error| SandboxError::setup(format!("enter the container of process {pid}"), e);
    let container = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|e| failed(e.into()))?;
    let group = Cgroup::of(pid)?;
    if group.as_ref().is_some_and(Cgroup::is_frozen) {
        // The new process would stop right there, and this one wait for it.
        return Err(SandboxError::Invalid("the container is paused".to_owned()));
    }
    let doors = group.as_ref().map(Cgroup::v1_doors).transpose()?.unwrap_or_default();
    let cgroup = group.as_ref().map(Cgroup::unified_fd).transpose()?.flatten();

    let shift = Shift::of(pid);
    let owner = shift.map_or(spec.user.uid, |shift| shift.outside(spec.user.uid));
    let mut outside = None;
    let (stdio, terminal) = match spec.stdio {
        Stdio::Fds { stdin, stdout, stderr } => ([stdin, stdout, stderr], false),
        // Not the container's: that may be anything by now.
        Stdio::Null => (null_streams().map_err(failed)?, false),
        Stdio::Terminal { rows, columns } => {
            let opened = multiplexer(pid)
                .and_then(|ptmx| open_terminal(ptmx, rows, columns, owner))
                .map_err(|e| SandboxError::setup("open a terminal in the container", e))?;
            outside = Some(opened.outside);
            (three(opened.inside)?, true)
        }
    };
    let (report, failures) = report_pipe()?;
    let capabilities = if spec.privileged { Capabilities::ALL } else { spec.capabilities };
    let capabilities = capabilities.available()?;
    let filter = if spec.privileged { &Seccomp::Unconfined } else { &spec.seccomp };
    let filter = seccomp::wanted(filter, capabilities);
    let inside = container.try_clone().map_err(failed)?;
    let plan = Plan {
        report: report.as_raw_fd(),
        parent: if spec.die_with_parent { Some(this_process()?) } else { None },
        birth: None,
        joins_users: shift.is_some(),
        doors,
        entry: Entry::Join(container),
        stdio: Some(stdio),
        terminal,
        rlimits: spec.rlimits,
        oom_score_adj: None,
        user: spec.user,
        sets_groups: Ids::own().may_set_groups(),
        capabilities: capabilities.bits(),
        seccomp: filter,
        no_new_privileges: spec.no_new_privileges,
        cwd: c_string(spec.cwd)?,
        command: command(spec.args, spec.env, By::Second, Role::SteppingStone)?,
    };
    let launched = launch(Launch {
        plan: Box::new(plan),
        namespaces: 0,
        cgroup,
        inside: Some(inside),
        network: None,
        ids: None,
    })
    .map_err(failed)?;
    // The child has its own; with this one open the pipe would never end.
    drop(report);
    running(launched, failures, outside, Leftovers::default())
}

fn null_streams() -> io::Result<[OwnedFd; 3]> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    Ok([null.try_clone()?.into(), null.try_clone()?.into(), null.into()])
}

/// Opens the multiplexer of the container's terminals. What is found under its name is looked at
/// before it is opened: opening a pipe would wait, and opening some device may do anything.
fn multiplexer(pid: i32) -> io::Result<OwnedFd> {
    const DEVPTS: i64 = 0x1cd1;
    let root = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found =
        openat2(&root, c"dev/pts/ptmx", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside)?;
    let stat = fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || stat.st_rdev != rustix::fs::makedev(5, 2)
        || fstatfs(&found)?.f_type as i64 != DEVPTS
    {
        let why = "/dev/pts/ptmx of the container is not a terminal multiplexer";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(CWD, again, flags, Mode::empty())?)
}
