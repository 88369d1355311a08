//! From a [`Spec`] to a running process.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use crate::capabilities::Capabilities;
use crate::cgroup::Cgroup;
use crate::child::read_report;
use crate::command::{c_string, command};
use crate::error::SandboxError;
use crate::explain::explain;
use crate::ids::Ids;
use crate::init::Role;
use crate::launcher::{self, Launch, Launched, launch, launch_here};
use crate::mounts::{self, DeviceControl};
use crate::plan::{Build, By, Entry, Plan};
use crate::process::{Leftovers, Process};
use crate::seccomp;
use crate::spec::{Namespace, Network, Seccomp, Spec, Stdio};
use crate::user_namespace;

/// Starts a container. It runs when this returns: the program was found and executed.
///
/// May be called from any thread, from many at once, and in a process of any size: the time it
/// takes does not depend on the caller's memory.
///
/// ```no_run
/// use bld_sandbox::{Root, Spec, spawn};
///
/// let mut spec = Spec::new(Root::Dir("/srv/rootfs".into()), ["ls", "-l"]);
/// spec.env.push("PATH=/usr/bin:/bin".into());
/// let status = spawn(spec)?.wait()?;
/// assert!(status.success());
/// # Ok::<(), bld_sandbox::SandboxError>(())
/// ```
///
/// # Errors
/// [`SandboxError::NotFound`] and [`SandboxError::NotExecutable`] when the program is at fault,
/// others when the set-up is. Nothing is left behind.
pub fn spawn(spec: Spec) -> Result<Process, SandboxError> {
    check(&spec)?;
    let mut leftovers = Leftovers::default();
    let control = control_devices(&spec, &mut leftovers)?;
    leftovers.outlives = !spec.pid.is_own();
    let users = spec.ids.map(user_namespace::of_ids).transpose();
    let users = users.map_err(|e| SandboxError::setup("make a user namespace", e))?;
    let mut mounts = mounts::prepare(&spec, control, users)?;
    leftovers.stubs = mounts.stubs.take();
    let terminal = mounts.terminal.take();

    let cgroup = leftovers.cgroup.as_ref();
    let doors = cgroup.map(Cgroup::v1_doors).transpose()?.unwrap_or_default();
    let cgroup = cgroup.map(Cgroup::unified_fd).transpose()?.flatten();

    let mut namespaces = libc::CLONE_NEWNS;
    if spec.pid.is_own() {
        namespaces |= libc::CLONE_NEWPID;
    }
    if spec.ipc.is_own() {
        namespaces |= libc::CLONE_NEWIPC;
    }
    let of = |namespace| match namespace {
        Namespace::Of(container) => Some(container),
        Namespace::Own | Namespace::Host => None,
    };
    let (inside, ipc) = (of(spec.pid), of(spec.ipc));
    if !spec.host_uts {
        namespaces |= libc::CLONE_NEWUTS;
    }
    let mut born_in = None;
    let mut ids = None;
    let mut birth = None;
    if let Some(shift) = spec.ids {
        namespaces |= libc::CLONE_NEWUSER;
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let ((born, says), (hears, tell)) = pipe()
            .and_then(|first| Ok((first, pipe()?)))
            .map_err(|e| SandboxError::setup("make a pipe", e))?;
        birth = Some((says, hears));
        ids = Some(launcher::Ids { shift, born, tell });
    }
    let network = match spec.network {
        Network::Namespace(fd) if spec.ids.is_some() => {
            // It belongs to whoever made it: nobody enters it from within another user namespace.
            born_in = Some(fd);
            None
        }
        Network::Host => None,
        Network::None => {
            namespaces |= libc::CLONE_NEWNET;
            None
        }
        Network::Namespace(fd) => Some(fd),
    };
    let mut outside = None;
    let (stdio, is_terminal) = match (spec.stdio, terminal) {
        (Stdio::Fds { stdin, stdout, stderr }, _) => (Some([stdin, stdout, stderr]), false),
        (_, Some(terminal)) => {
            outside = Some(terminal.outside);
            (Some(three(terminal.inside)?), true)
        }
        (_, None) => (None, false),
    };
    let sysctls = spec.sysctls.into_iter().map(|(name, value)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        Ok((c_string(path)?, value))
    });
    let build = Build {
        mounts,
        network,
        ipc,
        loopback: namespaces & libc::CLONE_NEWNET != 0,
        hostname: spec.hostname,
        sysctls: sysctls.collect::<Result<_, SandboxError>>()?,
    };
    let (report, failures) = report_pipe()?;
    let capabilities = if spec.privileged { Capabilities::ALL } else { spec.capabilities };
    let capabilities = capabilities.available()?;
    let filter = if spec.privileged { &Seccomp::Unconfined } else { &spec.seccomp };
    let filter = seccomp::wanted(filter, capabilities);
    let (by, role) = match (spec.init, &inside) {
        (true, _) => (By::Second, Role::Init),
        // Others see it from its birth, and may look for our executable.
        (false, Some(_)) => (By::Second, Role::SteppingStone),
        (false, None) => (By::Child, Role::SteppingStone),
    };
    let plan = Plan {
        report: report.as_raw_fd(),
        parent: if spec.die_with_parent { Some(this_process()?) } else { None },
        birth,
        joins_users: false,
        doors,
        entry: Entry::Build(Box::new(build)),
        stdio,
        terminal: is_terminal,
        rlimits: spec.rlimits,
        oom_score_adj: spec.oom_score_adj.map(|score| score.to_string()),
        user: spec.user,
        sets_groups: Ids::own().may_set_groups(),
        capabilities: capabilities.bits(),
        seccomp: filter,
        no_new_privileges: spec.no_new_privileges,
        cwd: c_string(spec.cwd)?,
        command: command(spec.args, spec.env, by, role)?,
    };
    let launch = if spec.caller_stays && inside.is_none() { launch_here } else { launch };
    let plan = Box::new(plan);
    let launched = launch(Launch { plan, namespaces, cgroup, inside, network: born_in, ids })
        .map_err(|e| SandboxError::setup("make the container's first process", e))?;
    // The child has its own; with this one open the pipe would never end.
    drop(report);
    running(launched, failures, outside, leftovers)
}

/// Without one, nothing could end what the first process leaves.
const NEEDS_GROUP: &str = "the host's processes are only shared with a control group";

/// Refuses what can only be a mistake, before anything is made.
fn check(spec: &Spec) -> Result<(), SandboxError> {
    let invalid = |why: String| Err(SandboxError::Invalid(why));
    if spec.args.is_empty() {
        return invalid("there is nothing to run".to_owned());
    }
    if !spec.cwd.starts_with('/') {
        return invalid(format!("working directory {:?} is not absolute", spec.cwd));
    }
    if !spec.pid.is_own() && spec.cgroup.is_none() {
        return invalid(NEEDS_GROUP.to_owned());
    }
    Ids::own().check(&spec.user)?;
    if spec.ids.is_some()
        && (!spec.pid.is_own()
            || !spec.ipc.is_own()
            || spec.host_uts
            || matches!(spec.network, Network::Host))
    {
        return invalid("a user namespace of its own, and namespaces of the host".to_owned());
    }
    let own_network = !matches!(spec.network, Network::Host);
    for (name, _) in &spec.sysctls {
        if !is_namespaced(name, own_network)
            || (spec.host_uts && name == "kernel.domainname")
            || (!spec.ipc.is_own() && !name.starts_with("net.") && name != "kernel.domainname")
        {
            return invalid(format!("sysctl {name:?} is not the container's own"));
        }
    }
    Ok(())
}

/// Whether a kernel parameter exists once for each container, as Docker decides it; those of the
/// network do where the container has its `own_network`.
pub fn is_namespaced(name: &str, own_network: bool) -> bool {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if name.contains(['/', '\0']) || name.contains("..") {
        return false;
    }
    IPC.contains(&name)
        || name.starts_with("fs.mqueue.")
        || (own_network && name.starts_with("net."))
        || name == "kernel.domainname"
}

/// Makes the control group and decides what keeps the container from the host's devices.
fn control_devices(spec: &Spec, leftovers: &mut Leftovers) -> Result<DeviceControl, SandboxError> {
    let rules = mounts::device_rules(&spec.devices)
        .map_err(|(device, e)| SandboxError::setup(format!("use device {device:?}"), e))?;
    if let Some(group) = &spec.cgroup {
        let group = Cgroup::create(group)?;
        if !spec.pid.is_own() && group.is_nowhere() {
            return Err(SandboxError::Invalid(NEEDS_GROUP.to_owned()));
        }
        leftovers.cgroup = Some(group);
    }
    if !Ids::own().are_all() || spec.ids.is_some() {
        // Nodes can't be made in a user namespace, and their use not be restricted by groups.
        return Ok(DeviceControl::Mounts);
    }
    if spec.privileged {
        return Ok(DeviceControl::None);
    }
    let Some(cgroup) = &leftovers.cgroup else { return Ok(DeviceControl::Mounts) };
    let controlled = cgroup.restrict_devices(&rules)?;
    Ok(if controlled { DeviceControl::Group } else { DeviceControl::Mounts })
}

/// A descriptor for each standard stream.
pub(crate) fn three(fd: OwnedFd) -> Result<[OwnedFd; 3], SandboxError> {
    let clone = |fd: &OwnedFd| {
        fd.try_clone().map_err(|e| SandboxError::setup("connect standard streams", e))
    };
    Ok([clone(&fd)?, clone(&fd)?, fd])
}

/// The pipe that failures come through: to write, to read.
pub(crate) fn report_pipe() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|e| SandboxError::setup("make a pipe", e))?;
    Ok((write, read))
}

/// A descriptor of this process, open until its end.
pub(crate) fn this_process() -> Result<RawFd, SandboxError> {
    static THIS: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(this) = THIS.get() {
        return Ok(this.as_raw_fd());
    }
    let this = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|e| SandboxError::setup("refer to the calling process", e))?;
    Ok(THIS.get_or_init(|| this).as_raw_fd())
}

/// The process, if the child reports no failure.
pub(crate) fn running(
    launched: Launched,
    failures: OwnedFd,
    terminal: Option<OwnedFd>,
    leftovers: Leftovers,
) -> Result<Process, SandboxError> {
    let Launched { pid, pidfd, plan } = launched;
    let failure = read_report(failures);
    let error = failure.map(|failure| explain(failure, &plan));
    // The mounts have to be gone before what they lay on is removed.
    drop(plan);
    let process = Process::new(pid, pidfd, terminal, leftovers);
    // In case of an error, dropping the process reaps the child and cleans up.
    error.map_or(Ok(process), Err)
}
