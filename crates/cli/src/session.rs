//! What every command works with: the engine, and the streams.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bld_engine::{Engine, EngineConfig};
use bld_event::Events;

use crate::app::Global;
use crate::error::Failure;

/// Result of a command: its exit code.
pub(crate) type Outcome = Result<u8, Failure>;

/// One run of `bld`.
pub(crate) struct Session {
    /// The engine; nothing is opened before it is used.
    pub(crate) engine: Engine,
}

impl Session {
    /// A session by the command line's global flags and the environment.
    pub(crate) fn new(global: &Global) -> Self {
        Self { engine: Engine::open(config(global)) }
    }

    /// A session like this one, for another thread.
    pub(crate) fn another(&self) -> Self {
        Self { engine: Engine::open(self.engine.config().clone()) }
    }

    /// A session that trusts registries blindly, where that is asked for.
    pub(crate) fn unverified_if(&self, insecure: bool) -> Self {
        let config = self.engine.config().clone();
        let tls_verify = config.tls_verify && !insecure;
        Self { engine: Engine::open(EngineConfig { tls_verify, ..config }) }
    }

    /// A session that trusts these registries blindly.
    pub(crate) fn trusting(&self, registries: Vec<String>) -> Self {
        let mut config = self.engine.config().clone();
        config.insecure_registries.extend(registries);
        Self { engine: Engine::open(config) }
    }

    /// Writes `text` to standard output.
    #[expect(clippy::unused_self, reason = "output belongs to the session")]
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
    }

    /// Writes `line` and a newline to standard output.
    pub(crate) fn say(&self, line: &str) -> Result<(), Failure> {
        self.print(&format!("{line}\n"))
    }

    /// Writes `line` and a newline to standard error, for people.
    #[expect(clippy::unused_self, reason = "output belongs to the session")]
    pub(crate) fn tell(&self, line: &str) {
        // Nobody reads standard error: there is nobody to tell that to.
        let _unread = io::stderr().write_all(format!("{line}\n").as_bytes());
    }

    /// Writes `text` to standard error, for people, if there is any.
    pub(crate) fn tell_if_any(&self, text: &str) {
        if !text.is_empty() {
            self.tell(text.trim_end_matches('\n'));
        }
    }

    /// Drops what a command that failed has found damaged: the next one fetches or makes it again.
    pub(crate) fn drop_damaged(&self) {
        match self.engine.drop_damaged(&Events::none()) {
            Ok(dropped) => dropped.iter().for_each(|(digest, images)| {
                let then = if images.is_empty() {
                    "do it again to have it made anew".to_owned()
                } else {
                    format!("pull or build {} again, which needs it", images.join(", "))
                };
                self.tell(&format!("hint: blob {digest} was dropped: {then}"));
            }),
            Err(error) => Failure::from(error).print("Error: "),
        }
    }

    /// Does something for each of `names` and prints the name of each for which it worked. What
    /// fails is said and does not keep the others from being done.
    pub(crate) fn each(
        &self,
        names: &[String],
        mut work: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Outcome {
        self.try_each(names, |name| work(name).and_then(|()| self.say(name)))
    }

    /// Does something for each of `names`. What fails is said and does not keep the others from
    /// being done; the exit code is the largest of the failures'.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as all commands end")]
    pub(crate) fn try_each(
        &self,
        names: &[String],
        mut work: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Outcome {
        let mut code = 0;
        for name in names {
            if let Err(failure) = work(name) {
                failure.print("Error: ");
                code = code.max(failure.code);
            }
        }
        Ok(code)
    }
}

fn config(global: &Global) -> EngineConfig {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let is_root = rustix::process::geteuid().is_root();
    let (root, is_default) = match &global.root {
        Some(root) => (root.clone(), false),
        None if is_root => (PathBuf::from("/var/lib/bld"), true),
        None => {
            let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let data = data.or(home.as_ref().map(|home| home.join(".local/share")));
            (data.unwrap_or_else(|| PathBuf::from(".")).join("bld"), false)
        }
    };
    let mut config = EngineConfig::new(std::path::absolute(&root).unwrap_or(root));
    if is_default {
        config.run_dir = PathBuf::from("/run/bld");
    }
    config.known_hosts = known_hosts(home.as_deref());
    config.ssh_agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    config.git_environment = GIT_ENVIRONMENT
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect();
    let amazons = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AWS_"))?;
        Some((name, value.into_string().ok()?))
    };
    config.aws.variables = std::env::vars_os().filter_map(amazons).collect();
    config.aws.home.clone_from(&home);
    config.actions_token = crate::commands::build::gha::token();
    config.tls_verify = global.tls_verify;
    config.certificate_dirs = certificate_dirs(home.as_deref());
    config.registries_conf = registries_conf(home.as_deref(), is_root);
    config.auth_files = auth_files(global, home);
    if let Some(bridge) = std::env::var_os("BLD_BRIDGE").and_then(|name| name.into_string().ok()) {
        config.bridge.table.clone_from(&bridge);
        config.bridge.name = bridge;
    }
    if let Some(dirs) = std::env::var_os("BLD_CDI_SPEC_DIRS") {
        config.device_dirs = std::env::split_paths(&dirs).collect();
    }
    config.monitor = std::env::current_exe().ok().map(|program| {
        let args = ["--root".into(), config.root.clone().into_os_string()];
        let command = OsString::from(bld_engine::containers::monitor::COMMAND);
        std::iter::once(program.into_os_string()).chain(args).chain([command]).collect()
    });
    config
}

/// What git is handed of our environment: where programs are, and proxies.
const GIT_ENVIRONMENT: [&str; 10] = [
    "PATH",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// The files that ssh looks into.
fn known_hosts(home: Option<&Path>) -> Vec<PathBuf> {
    let own = home.map(|home| home.join(".ssh/known_hosts"));
    own.into_iter().chain(["/etc/ssh/ssh_known_hosts".into()]).collect()
}

/// Where it is said how registries are spoken to: to us, podman, containerd and Docker.
fn certificate_dirs(home: Option<&Path>) -> Vec<PathBuf> {
    const NAMES: [&str; 4] = ["bld", "containers", "containerd", "docker"];
    let usual = home.map(|home| home.join(".config"));
    let set = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    // The others do not go by the variable for this.
    let ours = set.filter(|dir| dir.is_absolute()).or_else(|| usual.clone());
    let own = NAMES.map(|name| {
        let config = if name == "bld" { ours.as_deref() } else { usual.as_deref() };
        config.map(|dir| dir.join(name).join("certs.d"))
    });
    let system = NAMES.map(|name| Path::new("/etc").join(name).join("certs.d"));
    own.into_iter().flatten().chain(system).collect()
}

/// Where it is said where images are and what their short names mean: a file of ours, else what podman, buildah
/// and skopeo read, in their order.
fn registries_conf(home: Option<&Path>, is_root: bool) -> Vec<PathBuf> {
    const FILE: &str = "registries.conf";
    const MORE: &str = "registries.conf.d";
    // What people chose when they were asked.
    const CHOSEN: &str = "containers/short-name-aliases.conf";
    let ours = certificate_dirs(home);
    let ours = ours.iter().filter_map(|dir| dir.parent()).filter(|dir| dir.ends_with("bld"));
    if let Some(file) = ours.map(|dir| dir.join(FILE)).find(|file| file.exists()) {
        return vec![file];
    }
    let system = Path::new("/etc/containers");
    let own = home.map(|home| home.join(".config/containers"));
    let named = ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"];
    let named = named.iter().find_map(std::env::var_os).filter(|name| !name.is_empty());
    let own_file = own.as_ref().map(|own| own.join(FILE)).filter(|file| file.exists());
    let mut places = match (named, own_file) {
        (Some(named), _) => vec![named.into(), system.join(MORE)],
        (None, Some(own_file)) => vec![own_file],
        (None, None) => vec![system.join(FILE), system.join(MORE)],
    };
    places.extend(own.map(|own| own.join(MORE)));
    let cache = home.map(|home| home.join(".cache"));
    places.extend(
        if is_root { Some("/var/cache".into()) } else { cache }.map(|dir| dir.join(CHOSEN)),
    );
    places
}

/// Docker's configuration, then that of podman and skopeo.
fn auth_files(global: &Global, home: Option<PathBuf>) -> Vec<PathBuf> {
    let docker = global.config.clone().or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let named = std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
    docker
        .map(|dir| dir.join("config.json"))
        .into_iter()
        .chain(named)
        .chain(run.map(|dir| dir.join("containers/auth.json")))
        .chain(home.map(|dir| dir.join(".config/containers/auth.json")))
        .collect()
}
