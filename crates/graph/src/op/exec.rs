//! Running a process.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::{is_false, octal};

/// Run a process in the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecOp {
    /// The argument vector, never empty.
    pub args: Vec<String>,
    /// The environment: that of the image in its order, then declared build arguments. `PATH` is
    /// always in it.
    pub env: Environment,
    /// Working directory, absolute.
    pub cwd: String,
    /// As written in `USER`; looked up in the root filesystem. Empty: root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// What network there is.
    pub network: Network,
    /// How confined the process is.
    pub security: Security,
    /// Mounts as they are written. One inside of another is made after it; of two at the same
    /// place the later one shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountOp>,
    /// Here-documents the process finds as files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// Devices of the host (CDI names).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceOp>,
    /// Host name other than the sandbox's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Lines added to `/etc/hosts`: name and address. Only the names are part of the key: an address
    /// may be another one on every machine.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "names")]
    pub extra_hosts: Vec<(String, String)>,
    /// Proxy variables to set unless `env` has them. How the network is reached must not decide
    /// about reuse, so they are no part of the key.
    #[serde(skip)]
    pub proxy_env: Vec<(String, String)>,
}

/// The environment of a process: names, each once, and values.
///
/// Cheap to clone, because most processes of a build see the same one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(Arc<Vec<(String, String)>>);

impl Environment {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Deref for Environment {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

fn names<S: Serializer>(hosts: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hosts.iter().map(|(name, _)| name))
}

/// What network a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// An own namespace with access to the outside.
    #[default]
    Default,
    /// An own namespace with nothing but loopback.
    None,
    /// The host's.
    Host,
}

/// How confined a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Default capabilities, seccomp filter, masked paths.
    #[default]
    Sandbox,
    /// All capabilities and devices.
    Insecure,
}

/// A file that exists only while the process runs, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Script {
    /// Absolute; never part of the result.
    pub path: String,
    /// Permission bits.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    /// What it holds.
    pub content: String,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceOp {
    /// Fully qualified CDI name, class or pattern, as written.
    pub name: String,
    /// The step fails when there is no such device, instead of running without.
    #[serde(skip_serializing_if = "is_false")]
    pub required: bool,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountOp {
    /// Where it appears: absolute and clean. Mount points that had to be made never stay.
    pub target: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MountKind {
    /// Files of another tree. Writes, where allowed, are thrown away afterwards.
    Bind {
        /// Which [`Input::From`](crate::Input::From); none: an empty directory.
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<usize>,
        /// Path within the input, absolute and clean.
        source: String,
        /// Writes are allowed.
        #[serde(skip_serializing_if = "is_false")]
        writable: bool,
    },
    /// A directory that outlives the build. What is in it is no part of any key.
    Cache {
        /// What names it, namespace included.
        id: String,
        /// What happens when two processes want it at once. It says when the process runs, not what
        /// it does, so it is no part of the key.
        #[serde(skip)]
        sharing: Sharing,
        /// Which input fills it when it is first made; none: empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<usize>,
        /// What is seen of it, absolute and clean: a path within the input, which is then all that
        /// is taken of it, or within the directory if there is no input.
        source: String,
        /// Permission bits when it is first made.
        #[serde(serialize_with = "octal")]
        mode: u32,
        /// Owner when it is first made.
        uid: u32,
        /// Group when it is first made.
        gid: u32,
        /// Writes are refused.
        #[serde(skip_serializing_if = "is_false")]
        read_only: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Limit in bytes; none: half the memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// A secret, by name; what it holds is never part of a key, a log or a result.
    Secret {
        /// What names it.
        id: String,
        /// There is a file at the mount's target; otherwise only the variable.
        file: bool,
        /// The variable to hand it over in.
        #[serde(skip_serializing_if = "Option::is_none")]
        env: Option<String>,
        /// Permission bits of the file.
        #[serde(serialize_with = "octal")]
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// The step fails when there is no such secret, instead of running without.
        #[serde(skip_serializing_if = "is_false")]
        required: bool,
    },
    /// A socket that leads to an SSH agent.
    Ssh {
        /// What names the agent.
        id: String,
        /// Permission bits of the socket.
        #[serde(serialize_with = "octal")]
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
        /// The step fails when there is no such agent, instead of running without.
        #[serde(skip_serializing_if = "is_false")]
        required: bool,
    },
}

/// What happens when two processes want the same cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// They use it together.
    #[default]
    Shared,
    /// The later one gets another, empty one.
    Private,
    /// The later one waits.
    Locked,
}
