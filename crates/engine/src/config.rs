//! Where an engine keeps things and what it is told about its surroundings.

use std::ffi::OsString;
use std::path::PathBuf;

use bld_cache::gha::Token;
use bld_cache::s3::Surroundings;
use bld_network::BridgeConfig;

/// What an engine needs to know. It reads no environment and no home directory: whoever opens it
/// says where things are.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The store's directory, made when missing.
    pub root: PathBuf,
    /// Directory for what does not outlive a boot: network state and sockets. Made when missing.
    pub run_dir: PathBuf,
    /// Files that hold credentials for registries (docker's `config.json`, podman's `auth.json`),
    /// the one to look into first in front. Those that do not exist count as empty.
    pub auth_files: Vec<PathBuf>,
    /// Whether certificates of registries are verified, and plain HTTP is spoken to loopback only.
    pub tls_verify: bool,
    /// The environment and home that clients of Amazon's look into: for caches in buckets.
    pub aws: Surroundings,
    /// The token of a job of GitHub Actions: for layers in its cache service.
    pub actions_token: Option<Token>,
    /// Directories with one directory for each registry (`host:port`, and `_default` for all others),
    /// which say how it is spoken to: containerd's `hosts.toml`, or Docker's `*.crt` of authorities and
    /// `*.cert` with `*.key` of ours. The first `hosts.toml` for a registry counts. Those that do not
    /// exist count as empty.
    pub certificate_dirs: Vec<PathBuf>,
    /// Files in the form of containers' `registries.conf`, and directories of such files (`*.conf`): what a
    /// later one says counts. Those that do not exist count as empty.
    pub registries_conf: Vec<PathBuf>,
    /// Registries (`host:port`) whose certificates are not verified, and that may speak plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Files with the keys of known SSH hosts, for git.
    pub known_hosts: Vec<PathBuf>,
    /// Socket of the SSH agent that git may use where a build names none.
    pub ssh_agent: Option<PathBuf>,
    /// Environment of git: the search path and proxies. It gets no other.
    pub git_environment: Vec<(OsString, OsString)>,
    /// The bridge that containers are attached to by default.
    pub bridge: BridgeConfig,
    /// Directories with descriptions of devices, in the form of the Container Device Interface; what
    /// a later one says of a device counts.
    pub device_dirs: Vec<PathBuf>,
    /// Command line that runs [`monitor`](crate::containers::monitor); the container's id is
    /// appended. Without it, containers cannot be detached.
    pub monitor: Option<Vec<OsString>>,
}

impl EngineConfig {
    /// An engine on the store in `root`, without credentials, that cannot detach containers.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            run_dir: root.join("run"),
            root,
            auth_files: Vec::new(),
            tls_verify: true,
            aws: Surroundings::default(),
            actions_token: None,
            certificate_dirs: Vec::new(),
            registries_conf: Vec::new(),
            insecure_registries: Vec::new(),
            known_hosts: Vec::new(),
            ssh_agent: None,
            git_environment: Vec::new(),
            bridge: BridgeConfig::default(),
            device_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            monitor: None,
        }
    }
}
