//! What is kept of a container: one JSON document in the store.
//!
//! The document holds what the user asked for, resolved once when the container is created, and
//! its state, which only the process that holds the container changes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::SystemTime;

use bld_network::{Endpoint, Mac, PortWish, Published};
use bld_oci::{ContainerConfig, Digest};
use serde::{Deserialize, Serialize};

use super::health::Health;
use super::process::ProcessId;

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without docker's leading slash.
    pub name: String,
    /// When it was created.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// The image it was made from.
    pub image: Digest,
    /// How the image was called then.
    pub image_name: String,
    /// Platform of the image.
    pub platform: String,
    /// What runs in it: the image's configuration with what the user changed.
    pub config: ContainerConfig,
    /// How it runs.
    pub host: HostConfig,
    /// What is mounted in it besides the usual.
    pub mounts: Vec<Mount>,
    /// How it fares.
    pub state: State,
    /// The networks it is on, by name.
    #[serde(default)]
    pub networks: BTreeMap<String, Attachment>,
    /// The ports of the host that lead to it, while it runs.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// Somebody has asked it to end: it is not started again.
    #[serde(default)]
    pub stop_asked: bool,
    /// How often it was started again by its restart policy.
    #[serde(default)]
    pub restarts: u32,
}

impl Container {
    /// The first 12 digits of the id, as lists show it.
    pub fn short_id(&self) -> String {
        self.id.chars().take(12).collect()
    }

    /// The images it cannot do without: the one it was made from and those that are mounted.
    pub(crate) fn images(&self) -> impl Iterator<Item = Digest> {
        let mounted = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Image { id, .. } => *id,
            _ => None,
        });
        std::iter::once(self.image).chain(mounted)
    }

    /// Whether it is on the network `name`, the host's and none included.
    pub fn is_on(&self, name: &str) -> bool {
        self.networks.contains_key(name) || self.host.network.name() == name
    }

    /// Enters that it has no place on its networks any more.
    pub(crate) fn unplug(&mut self) {
        self.networks.values_mut().for_each(|place| place.endpoint = None);
        self.ports.clear();
    }

    /// Whether it may be started again when it ends.
    pub fn is_restarted(&self) -> bool {
        self.host.restart.name != RestartCondition::No
    }

    /// The command line: entrypoint and command.
    pub fn command(&self) -> Vec<String> {
        let words = self.config.entrypoint.iter().chain(&self.config.cmd);
        words.flatten().cloned().collect()
    }
}

/// How a container runs, beyond what its image says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// Its host name; the short id when empty, the host's own on the host's network.
    pub hostname: String,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input stays open.
    pub open_stdin: bool,
    /// The OCI runtime that makes it; it is made by us when absent.
    pub runtime: Option<PathBuf>,
    /// Its network.
    pub network: NetworkMode,
    /// Ports that the host leads to it.
    pub ports: Vec<PortWish>,
    /// Every port that is exposed is led to from one of the host.
    pub publish_all: bool,
    /// Containers it finds by another name: their names and that.
    pub links: Vec<(String, String)>,
    /// It is removed when it ends, with its anonymous volumes.
    pub auto_remove: bool,
    /// What is done when it ends by itself.
    pub restart: RestartPolicy,
    /// Seconds between the stop signal and `SIGKILL`; 10 when absent.
    pub stop_timeout: Option<i64>,
    /// Where its output is kept.
    pub log: LogDriver,
    /// How: options of docker's log drivers.
    pub log_options: BTreeMap<String, String>,
    /// All rights and devices of the host.
    pub privileged: bool,
    /// Capabilities added to docker's default set, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities taken from it.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges`, `seccomp=unconfined`, ...
    pub security_opt: Vec<String>,
    /// The root filesystem cannot be written.
    pub read_only: bool,
    /// A small init is process 1.
    pub init: bool,
    /// Names and addresses added to `/etc/hosts`.
    pub extra_hosts: Vec<(String, String)>,
    /// Name servers instead of the host's.
    pub dns: Vec<String>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options instead of the host's.
    pub dns_options: Vec<String>,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shm_size: Option<u64>,
    /// Resource limits: name, soft, hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Devices of the host.
    pub devices: Vec<DeviceMapping>,
    /// Groups its processes are in besides their user's, by name or number.
    pub groups: Vec<String>,
    /// NIS domain name; none when empty.
    pub domainname: String,
    /// Notes for whoever reads them.
    pub annotations: BTreeMap<String, String>,
    /// Whose processes it sees.
    pub pid: Sharing,
    /// It has the host's name, and may change it.
    pub host_uts: bool,
    /// Whose memory, semaphores and message queues it shares.
    pub ipc: Sharing,
    /// It has a user namespace of its own.
    pub own_users: bool,
    /// The ids of the host that are its own then: the first, which is its root's, and how many.
    pub ids: Option<(u32, u32)>,
    /// Adjustment of the score by which the kernel chooses whom to kill for lack of memory.
    pub oom_score_adj: Option<i32>,
    /// Limits of its control group.
    pub limits: Limits,
}

/// A device of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// Some of `r`, `w` and `m`.
    pub permissions: String,
}

/// Limits of a container's control group; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that are kept under pressure.
    pub memory_reservation: Option<u64>,
    /// Processor time in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Relative weight of processor time.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<u64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// Processors, e.g. `0-2`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Relative weight at block devices, 10 to 1000.
    pub io_weight: Option<u16>,
    /// What block devices give at most.
    pub io_rates: Vec<IoRate>,
}

/// The most that a block device of the host gives in a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoRate {
    /// The device.
    pub device: PathBuf,
    /// What is limited.
    pub kind: IoKind,
    /// How much it may be.
    pub rate: u64,
}

/// What of a block device is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

/// What network a container is on at first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NetworkMode {
    /// The default bridge, with an address of its own.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// Loopback only.
    None,
    /// A network that somebody made, by name.
    Named(String),
    /// That of another container, by id.
    Container(String),
}

impl NetworkMode {
    /// `bridge`, `host`, `none`, `container:ID` or the name of a network.
    pub fn name(&self) -> String {
        match self {
            Self::Bridge => "bridge".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Named(name) => name.clone(),
            Self::Container(id) => format!("container:{id}"),
        }
    }

    /// Whether the container has places on bridges.
    pub fn is_bridged(&self) -> bool {
        matches!(self, Self::Bridge | Self::Named(_))
    }
}

impl From<String> for NetworkMode {
    /// As `--network` has it; see [`name`](Self::name).
    fn from(name: String) -> Self {
        match name.as_str() {
            "" | "bridge" | "default" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.strip_prefix("container:") {
                Some(id) => Self::Container(id.to_owned()),
                None => Self::Named(name),
            },
        }
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.name()
    }
}

/// Whose processes, or whose shared memory, a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Sharing {
    /// Its own.
    #[default]
    Own,
    /// Its own, which other containers may share.
    Shareable,
    /// The host's.
    Host,
    /// Those of another container, by id.
    Container(String),
}

impl Sharing {
    /// `shareable`, `host`, `container:ID` or nothing.
    pub fn name(&self) -> String {
        match self {
            Self::Own => String::new(),
            Self::Shareable => "shareable".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Container(id) => format!("container:{id}"),
        }
    }
}

impl From<String> for Sharing {
    /// As `--pid` and `--ipc` have it; see [`name`](Self::name).
    fn from(name: String) -> Self {
        match name.as_str() {
            "shareable" => Self::Shareable,
            "host" => Self::Host,
            other => match other.strip_prefix("container:") {
                Some(id) => Self::Container(id.to_owned()),
                None => Self::Own,
            },
        }
    }
}

impl From<Sharing> for String {
    fn from(sharing: Sharing) -> Self {
        sharing.name()
    }
}

/// A container's place on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// Further names by which others on the network find it.
    pub aliases: Vec<String>,
    /// The address it has to have.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address it has to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address it has to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// There is no way out of the network.
    pub internal: bool,
    /// The network spans machines.
    pub wide: bool,
    /// What it has there, while it runs.
    pub endpoint: Option<Endpoint>,
}

/// What is done when a container ends by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When it is started again.
    pub name: RestartCondition,
    /// Most tries of `on-failure`; 0 for no limit.
    pub maximum_retry_count: u32,
}

/// When a container that has ended by itself is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure,
    /// Whenever it ends.
    Always,
    /// Whenever it ends; unlike `always` not after a start of the machine if it was stopped before.
    UnlessStopped,
}

impl RestartCondition {
    /// `no`, `on-failure`, `always` or `unless-stopped`.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// A file with one JSON object for each line.
    #[default]
    #[serde(rename = "json-file")]
    JsonFile,
    /// The same, of which only the end is kept unless other bounds are set.
    #[serde(rename = "local")]
    Local,
    /// Nowhere.
    #[serde(rename = "none")]
    None,
}

impl LogDriver {
    /// `json-file`, `local` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        }
    }
}

/// Something mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What it is.
    #[serde(flatten)]
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// It cannot be written.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        path: PathBuf,
        /// It is made, as a directory, when it does not exist.
        create: bool,
        /// Whether mounts that are made later show up on the other side.
        #[serde(default)]
        propagation: Propagation,
        /// What is mounted below it stays out.
        #[serde(default)]
        shallow: bool,
    },
    /// A volume.
    Volume {
        /// Its name; empty for a new anonymous one.
        name: String,
        /// Nobody gave it a name.
        anonymous: bool,
        /// It takes the image's files when it is empty.
        copy: bool,
        /// What of it is shown; none: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        #[serde(default)]
        owner: (u32, u32),
        /// Programs in it may be run.
        #[serde(default)]
        exec: bool,
    },
    /// The files of an image, which are never written.
    Image {
        /// How the image was called.
        name: String,
        /// Which one it is; known once the container is created.
        id: Option<Digest>,
        /// What of it is shown; none: all.
        subpath: Option<String>,
    },
}

/// Whether mounts that are made later show up on the other side of a bind mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// On neither side; those below it as well.
    #[default]
    RPrivate,
    /// On neither side.
    Private,
    /// The host's in the container; those below it as well.
    RSlave,
    /// The host's in the container.
    Slave,
    /// On both sides; those below it as well.
    RShared,
    /// On both sides.
    Shared,
}

impl Propagation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::RPrivate, Self::Private, Self::RSlave, Self::Slave, Self::RShared, Self::Shared];

    /// `rprivate`, `private`, `rslave`, `slave`, `rshared` or `shared`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RPrivate => "rprivate",
            Self::Private => "private",
            Self::RSlave => "rslave",
            Self::Slave => "slave",
            Self::RShared => "rshared",
            Self::Shared => "shared",
        }
    }
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has never run.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It runs, but is given no processor time.
    Paused,
    /// It has ended and is about to be started again.
    Restarting,
    /// It has ended.
    Exited,
}

impl Status {
    /// `created`, `running`, `paused`, `restarting` or `exited`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }
}

/// How a container fares.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Where in its life it is.
    pub status: Status,
    /// Its first process, while it runs.
    pub process: Option<ProcessId>,
    /// The process that holds it, while it runs.
    pub holder: Option<ProcessId>,
    /// How it ended the last time.
    pub exit_code: i32,
    /// Why it could not start, or was given up.
    pub error: String,
    /// The kernel killed it for lack of memory.
    pub oom_killed: bool,
    /// Whether it is well, where it has a health check and has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When it started last.
    #[serde(with = "crate::time::optional", default)]
    pub started: Option<SystemTime>,
    /// When it ended last.
    #[serde(with = "crate::time::optional", default)]
    pub finished: Option<SystemTime>,
}

impl State {
    /// Whether it runs, paused or not, or is about to again.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused | Status::Restarting)
    }
}
