//! What to run and how to confine it: plain data, no behaviour.
//!
//! Every field has Docker's default in [`Spec::new`], so a caller names only what differs.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capabilities::Capabilities;
use crate::cgroup::CgroupSpec;
use crate::ids::Shift;
use crate::seccomp::Profile;
use crate::user::User;

/// One process in one container.
#[derive(Debug)]
pub struct Spec {
    /// The root filesystem.
    pub root: Root,
    /// Argument vector; the first is looked up in the container's `PATH` unless it has a slash.
    pub args: Vec<String>,
    /// Environment as `NAME=value`. Nothing is inherited and nothing is added.
    pub env: Vec<String>,
    /// Working directory, absolute. Made (0755, root) when missing.
    pub cwd: String,
    /// Whom the process runs as.
    pub user: User,
    /// Host name; none keeps the host's.
    pub hostname: Option<String>,
    /// Whose processes it sees, and may signal if they are of the same user. Others' need a control group,
    /// by which what is left in it is killed when its first process has ended.
    pub pid: Namespace,
    /// It shares the host's names, and may change them if it may.
    pub host_uts: bool,
    /// Whose memory segments, semaphores and message queues it has, `/dev/shm` included.
    pub ipc: Namespace,
    /// Mounts, made in this order: later ones lie over earlier ones.
    pub mounts: Vec<Mount>,
    /// What root may do. See [`Capabilities::docker`].
    pub capabilities: Capabilities,
    /// System call filter.
    pub seccomp: Seccomp,
    /// No program gives more rights than its caller has: setuid bits and file capabilities are
    /// without effect. See `PR_SET_NO_NEW_PRIVS` in prctl(2).
    pub no_new_privileges: bool,
    /// Docker's `--privileged`: all capabilities, every device of the host, no filter, no masked
    /// or read-only paths, `/sys` and cgroups writable.
    pub privileged: bool,
    /// Writes reach only mounts, not the root filesystem.
    pub read_only_root: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Kernel parameters of the container's namespaces, as `("net.ipv4.ip_forward", "1")`.
    pub sysctls: Vec<(String, String)>,
    /// Devices beside the usual ones.
    pub devices: Vec<Device>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// What network there is.
    pub network: Network,
    /// Control group with limits; none runs the process in the caller's groups.
    pub cgroup: Option<CgroupSpec>,
    /// Standard streams.
    pub stdio: Stdio,
    /// Contents of `/etc/resolv.conf`; none leaves the image's.
    pub resolv_conf: Option<Vec<u8>>,
    /// Contents of `/etc/hosts`; none leaves the image's.
    pub hosts: Option<Vec<u8>>,
    /// Contents of `/etc/hostname`; none leaves the image's.
    pub hostname_file: Option<Vec<u8>>,
    /// Run a tiny init as process 1 that forwards signals and reaps orphans.
    pub init: bool,
    /// Value for `/proc/self/oom_score_adj`; none leaves the caller's.
    pub oom_score_adj: Option<i32>,
    /// The whole container is killed when the calling process dies, however it dies.
    pub die_with_parent: bool,
    /// The thread that starts the container will not end before it does: it waits for it. Starting is
    /// cheaper then.
    pub caller_stays: bool,
    /// A user namespace of its own, with these ids; none: the caller's. The network is not the
    /// container's to change then, as it is made before.
    pub ids: Option<Shift>,
}

impl Spec {
    /// Runs `args` in `root` as root with Docker's defaults: no network, `/dev/null` as standard
    /// streams, and the container dies with the caller.
    pub fn new(root: Root, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            root,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            hostname: None,
            pid: Namespace::Own,
            host_uts: false,
            ipc: Namespace::Own,
            mounts: Vec::new(),
            capabilities: Capabilities::docker(),
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            privileged: false,
            read_only_root: false,
            rlimits: Vec::new(),
            sysctls: Vec::new(),
            devices: Vec::new(),
            shm_size: 64 << 20,
            network: Network::None,
            cgroup: None,
            stdio: Stdio::Null,
            resolv_conf: None,
            hosts: None,
            hostname_file: None,
            init: false,
            oom_score_adj: None,
            die_with_parent: true,
            caller_stays: false,
            ids: None,
        }
    }
}

/// Where the root filesystem comes from.
#[derive(Debug, Clone)]
pub enum Root {
    /// Layers with a writable one on top. See `Documentation/filesystems/overlayfs.rst`.
    Overlay {
        /// Read-only layers, lowest first. May be empty: the rootfs is then `upper` alone.
        lowers: Vec<PathBuf>,
        /// Receives every change, and nothing but changes.
        upper: PathBuf,
        /// Empty directory on the same filesystem as `upper`, used by the kernel.
        work: PathBuf,
        /// Nothing is ever synced to disk: fast, and right for an upper directory that is thrown
        /// away after a crash. The kernel refuses to mount `work` again after an unclean end.
        volatile: bool,
    },
    /// Layers that stay as they are. Mount points must exist.
    ReadOnly {
        /// Read-only layers, lowest first; at least one.
        lowers: Vec<PathBuf>,
    },
    /// A directory used as it is, with everything mounted below it.
    Dir(PathBuf),
}

/// Whose a namespace is.
#[derive(Debug)]
pub enum Namespace {
    /// A new one.
    Own,
    /// The caller's.
    Host,
    /// That of a container which runs: the descriptor of its first process, see pidfd_open(2).
    Of(OwnedFd),
}

impl Namespace {
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own)
    }
}

/// Something to see inside the container.
#[derive(Debug, Clone)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// Absolute path in the container. Symbolic links are followed inside the root filesystem
    /// only; a missing mount point is made, and removed again when the process has ended.
    pub target: String,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// What of it is shown; none: all. Links lead nowhere else.
        path: Option<String>,
        /// Writes are refused, also in mounts below.
        read_only: bool,
        /// Mounts below the source come along.
        recursive: bool,
        /// Whether what is mounted later on one side shows up on the other.
        propagation: Propagation,
        /// Files belong to those inside who have the numbers that they belong to outside, also in a
        /// container with [ids](Spec::ids) of its own.
        own: bool,
    },
    /// Layers of an image as they are: never written.
    Layers {
        /// The layers, lowest first; at least one.
        lowers: Vec<PathBuf>,
        /// What of them is shown; none: all. Links lead nowhere else.
        path: Option<String>,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Limit in bytes; none: half the memory.
        size: Option<u64>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Programs in it may not be run.
        no_exec: bool,
        /// Writes are refused.
        read_only: bool,
    },
    /// A file that exists only in memory and only for this process: secrets, scripts, hosts.
    File {
        /// What it holds.
        contents: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Writes are refused.
        read_only: bool,
    },
}

/// Whether mounts that are made later show up on the other side of a bind mount. See
/// mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// On neither side.
    #[default]
    Private,
    /// Those of the host show up in the container.
    Slave,
    /// Those of each side show up on the other.
    Shared,
}

/// System call filter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// One of the user's own.
    Profile(Arc<Profile>),
}

/// What network there is.
#[derive(Debug)]
pub enum Network {
    /// The caller's.
    Host,
    /// An own namespace with nothing but loopback, which is up.
    None,
    /// A prepared network namespace.
    Namespace(OwnedFd),
}

/// Where standard streams lead.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`, all three.
    Null,
    /// These descriptors.
    Fds {
        /// Read by the process.
        stdin: OwnedFd,
        /// Written by the process.
        stdout: OwnedFd,
        /// Written by the process.
        stderr: OwnedFd,
    },
    /// A new pseudoterminal, which is the controlling terminal of the process. The other side is
    /// [`Process::take_terminal`](crate::Process::take_terminal).
    Terminal {
        /// Height in characters; 0: unknown.
        rows: u16,
        /// Width in characters; 0: unknown.
        columns: u16,
    },
}

/// One resource limit, see getrlimit(2). What exceeds the caller's hard limit is clamped to it when
/// the caller may not raise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Which one.
    pub resource: Resource,
    /// Effective limit; `u64::MAX`: none.
    pub soft: u64,
    /// Ceiling for the effective one; `u64::MAX`: none.
    pub hard: u64,
}

/// A resource of getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Processor seconds.
    Cpu = 0,
    /// Largest file, bytes.
    Fsize = 1,
    /// Data segment, bytes.
    Data = 2,
    /// Stack, bytes.
    Stack = 3,
    /// Core file, bytes.
    Core = 4,
    /// Resident set, bytes; without effect today.
    Rss = 5,
    /// Processes of the user.
    Nproc = 6,
    /// Open files.
    Nofile = 7,
    /// Locked memory, bytes.
    Memlock = 8,
    /// Address space, bytes.
    As = 9,
    /// File locks; without effect today.
    Locks = 10,
    /// Queued signals.
    Sigpending = 11,
    /// POSIX message queues, bytes.
    Msgqueue = 12,
    /// Ceiling of the nice value, as 20 - nice.
    Nice = 13,
    /// Ceiling of the real-time priority.
    Rtprio = 14,
    /// Microseconds of real-time scheduling without a blocking call.
    Rttime = 15,
}

impl Resource {
    /// The resource of Docker's `--ulimit NAME=...`, lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "cpu" => Self::Cpu,
            "fsize" => Self::Fsize,
            "data" => Self::Data,
            "stack" => Self::Stack,
            "core" => Self::Core,
            "rss" => Self::Rss,
            "nproc" => Self::Nproc,
            "nofile" => Self::Nofile,
            "memlock" => Self::Memlock,
            "as" => Self::As,
            "locks" => Self::Locks,
            "sigpending" => Self::Sigpending,
            "msgqueue" => Self::Msgqueue,
            "nice" => Self::Nice,
            "rtprio" => Self::Rtprio,
            "rttime" => Self::Rttime,
            _ => return None,
        })
    }
}

/// A device of the host in the container (`--device /dev/fuse:/dev/x:rw`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device node on the host.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Nodes for it may be made with mknod(2).
    pub mknod: bool,
}
