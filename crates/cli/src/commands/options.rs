//! The flags that `run` and `create` share, and what they mean.

mod mounts;
mod networks;
mod parse;
mod ports;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use bld_engine::containers::{
    Attachment, CreateRequest, HostConfig, IoKind, Limits, LogDriver, Mac, NetworkMode,
    RestartCondition, Sharing, weighs_io, without_rights,
};

use bld_oci::Healthcheck;

use crate::error::Failure;
use crate::output::units::{parse_duration, parse_size};

pub(super) use parse::{
    host as parse_host, restart as parse_restart, swap as parse_swap, ulimit as parse_ulimit,
};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list")]
    add_host: Vec<String>,
    /// Add an annotation to the container (shown by inspect)
    #[arg(long, value_name = "map")]
    annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list")]
    pub(super) attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub(super) cidfile: Option<PathBuf>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    cpu_quota: Option<u64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal")]
    cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "list")]
    device: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "list")]
    device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "list")]
    device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "list")]
    device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "list")]
    device_write_iops: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "list")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list")]
    dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string")]
    domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list")]
    expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    health_interval: Option<Duration>,
    /// Consecutive failures needed to report unhealthy (default 3)
    #[arg(long, value_name = "int")]
    health_retries: Option<u32>,
    /// Time between running the check during the start period (ms|s|m|h) (default 5s)
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    health_start_interval: Option<Duration>,
    /// Time for the container to start in which failures do not count (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    health_start_period: Option<Duration>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    health_timeout: Option<Duration>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string")]
    hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// IPC mode to use (private, shareable, host or container:NAME)
    #[arg(long, value_name = "string", value_parser = parse::ipc)]
    ipc: Option<Sharing>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "list")]
    label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "list")]
    label_file: Vec<PathBuf>,
    /// Logging driver for the container (json-file, local or none)
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Log driver options (max-size, max-file)
    #[arg(long, value_name = "list")]
    log_opt: Vec<String>,
    /// Container MAC address (e.g., "92:d0:c6:0a:29:33")
    #[arg(long, value_name = "string")]
    mac_address: Option<Mac>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = parse_size)]
    memory: Option<u64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = parse_size)]
    memory_reservation: Option<u64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = parse::swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount")]
    mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "list")]
    link: Vec<String>,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "ip")]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "ip")]
    ip6: Option<Ipv6Addr>,
    /// Connect a container to a network (bridge, host, none, container:NAME or one that was created)
    #[arg(long, visible_alias = "net", value_name = "network")]
    network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, visible_alias = "net-alias", value_name = "list")]
    network_alias: Vec<String>,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// PID namespace to use (host or container:NAME)
    #[arg(long, value_name = "string", value_parser = parse::pid)]
    pid: Option<Sharing>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub(super) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "list")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "string", default_value = "missing", hide_default_value = true)]
    pub(super) pull: super::pull::Policy,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub(super) rm: bool,
    /// Runtime to use for this container (path or name of an OCI runtime: crun, runc, ...)
    #[arg(long, value_name = "string")]
    runtime: Option<String>,
    /// Security Options
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = parse_size)]
    shm_size: Option<u64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string")]
    stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
    /// Sysctl options
    #[arg(long, value_name = "map", value_parser = parse::sysctl)]
    sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "list")]
    tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit", value_parser = parse::ulimit)]
    ulimit: Vec<(String, u64, u64)>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string")]
    user: Option<String>,
    /// User namespace to use (host|private|auto)
    #[arg(long, value_name = "string", value_parser = parse::userns)]
    userns: Option<bool>,
    /// UTS namespace to use (host)
    #[arg(long, value_name = "string", value_parser = parse::uts)]
    uts: Option<bool>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "list")]
    volume: Vec<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "list")]
    volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    workdir: Option<String>,
}

/// The variables of files and then those of flags.
pub(super) fn environment(files: &[PathBuf], words: &[String]) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    for file in files {
        env.extend(parse::lines(file)?.iter().filter_map(|line| parse::variable(line)));
    }
    env.extend(words.iter().filter_map(|word| parse::variable(word)));
    Ok(env)
}

impl Options {
    /// What is to be created from `words`: an image and maybe a command.
    pub(super) fn request(&self, words: &[String]) -> Result<CreateRequest, Failure> {
        let (image, command) = words.split_first().ok_or_else(|| Failure::new("no image"))?;
        let certain = Attachment {
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac_address,
            ..Attachment::default()
        };
        let networks = networks::networks(&self.network, &self.network_alias, &certain)?;
        let host = self.host(networks.mode)?;
        let published = host.ports.iter().map(|wish| format!("{}/{}", wish.port, wish.protocol));
        let expose = self.expose.iter().map(|port| parse::port(port)).chain(published).collect();
        let mut labels = BTreeMap::new();
        for file in &self.label_file {
            labels.extend(parse::lines(file)?.iter().map(|line| parse::label(line)));
        }
        labels.extend(self.label.iter().map(|label| parse::label(label)));
        let env = environment(&self.env_file, &self.env)?;
        Ok(CreateRequest {
            platform: super::pull::platform(self.platform.as_deref())?,
            image: image.clone(),
            name: self.name.clone(),
            command: command.to_vec(),
            entrypoint: self.entrypoint.as_ref().map(|word| match word.as_str() {
                "" => Vec::new(),
                word => vec![word.to_owned()],
            }),
            env,
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            labels,
            healthcheck: self.healthcheck()?,
            stop_signal: self.stop_signal.clone(),
            expose,
            mounts: mounts::all(&self.volume, &self.mount, &self.tmpfs)?,
            volumes_from: self.volumes_from.clone(),
            networks: networks.wishes,
            host,
        })
    }

    fn healthcheck(&self) -> Result<Healthcheck, Failure> {
        let span = |span: Option<Duration>| {
            let nanoseconds = span.map(|span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX));
            nanoseconds.filter(|nanoseconds| *nanoseconds > 0)
        };
        let check = Healthcheck {
            test: match self.health_cmd.as_deref() {
                None | Some("") => Vec::new(),
                Some(command) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            interval: span(self.health_interval),
            timeout: span(self.health_timeout),
            start_period: span(self.health_start_period),
            start_interval: span(self.health_start_interval),
            retries: self.health_retries.map(i64::from).filter(|retries| *retries > 0),
        };
        if !self.no_healthcheck {
            return Ok(check);
        }
        if check != Healthcheck::default() {
            return Err(Failure::new("--no-healthcheck conflicts with --health-* options"));
        }
        Ok(Healthcheck { test: vec!["NONE".to_owned()], ..check })
    }

    /// One line for each flag that is accepted and changes nothing.
    pub(super) fn without_effect(&self, limits: &Limits) -> Vec<String> {
        let on_host = self.network.first().is_some_and(|network| network == "host");
        let published = self.publish_all || !self.publish.is_empty();
        let weight = self.blkio_weight.is_some_and(|weight| weight > 0);
        let notes = [
            (
                on_host && published,
                "WARNING: Published ports are discarded when using host network mode",
            ),
            (
                weight && !weighs_io(),
                "WARNING: Your kernel does not support Block I/O weight or the cgroup is not mounted. \
                 Weight discarded.",
            ),
        ];
        let notes = notes.into_iter().filter(|(given, _)| *given).map(|(_, note)| note.to_owned());
        let discarded = without_rights(limits).into_iter().map(|what| {
            format!(
                "WARNING: Your kernel does not support {what} or the cgroup is not mounted. Limitation \
                 discarded."
            )
        });
        notes.chain(discarded).collect()
    }

    fn host(&self, network: NetworkMode) -> Result<HostConfig, Failure> {
        let shared = matches!(network, NetworkMode::Container(_));
        if shared && (self.publish_all || !self.publish.is_empty()) {
            let what = "port publishing and the container type network mode";
            return Err(Failure::new(format!("conflicting options: {what}")));
        }
        if shared && self.hostname.is_some() {
            return Err(Failure::new("conflicting options: hostname and the network mode"));
        }
        let restart = self.restart.as_deref().map(parse::restart).transpose()?.unwrap_or_default();
        if self.rm && restart.name != RestartCondition::No {
            return Err(Failure::new(
                "conflicting options: cannot specify both --restart and --rm",
            ));
        }
        let host_uts = self.uts.unwrap_or(false);
        if host_uts && self.hostname.is_some() {
            return Err(Failure::new("conflicting options: hostname and the UTS mode"));
        }
        let mut ports = Vec::new();
        for word in &self.publish {
            ports.extend(ports::published(word)?);
        }
        let links = self.link.iter().map(|word| {
            let (name, alias) = word.split_once(':').unwrap_or((word, word));
            (name.to_owned(), alias.to_owned())
        });
        Ok(HostConfig {
            hostname: self.hostname.clone().unwrap_or_default(),
            tty: self.tty,
            open_stdin: self.interactive,
            network,
            ports,
            publish_all: self.publish_all,
            links: links.collect(),
            auto_remove: self.rm,
            restart,
            stop_timeout: self.stop_timeout,
            log: self.log()?,
            log_options: self.log_opt.iter().map(|word| parse::label(word)).collect(),
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            security_opt: self
                .security_opt
                .iter()
                .map(|word| parse::security(word))
                .collect::<Result<_, _>>()?,
            read_only: self.read_only,
            init: self.init,
            extra_hosts: self
                .add_host
                .iter()
                .map(|host| parse::host(host))
                .collect::<Result<_, _>>()?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            shm_size: self.shm_size,
            ulimits: self.ulimit.clone(),
            sysctls: self.sysctl.iter().map(|word| parse::label(word)).collect(),
            devices: self
                .device
                .iter()
                .map(|device| parse::device(device))
                .collect::<Result<_, _>>()?,
            oom_score_adj: self.oom_score_adj,
            groups: self.group_add.clone(),
            domainname: self.domainname.clone().unwrap_or_default(),
            runtime: self.runtime.as_deref().map(parse::runtime).transpose()?.flatten(),
            annotations: self.annotation.iter().map(|word| parse::label(word)).collect(),
            pid: self.pid.clone().unwrap_or_default(),
            host_uts,
            ipc: self.ipc.clone().unwrap_or_default(),
            own_users: self.userns.unwrap_or(false),
            ids: None,
            limits: self.limits()?,
        })
    }

    fn limits(&self) -> Result<Limits, Failure> {
        let rates = [
            (IoKind::ReadBytes, &self.device_read_bps),
            (IoKind::WriteBytes, &self.device_write_bps),
            (IoKind::Reads, &self.device_read_iops),
            (IoKind::Writes, &self.device_write_iops),
        ];
        let rates = rates
            .into_iter()
            .flat_map(|(kind, words)| words.iter().map(move |word| parse::rate(kind, word)));
        Ok(Limits {
            io_weight: self.blkio_weight.filter(|weight| *weight > 0),
            io_rates: rates.collect::<Result<_, _>>()?,
            memory: self.memory.filter(|memory| *memory > 0),
            memory_swap: self.memory_swap.filter(|swap| *swap != 0),
            memory_reservation: self.memory_reservation.filter(|memory| *memory > 0),
            nano_cpus: self.cpus.map(|cpus| (cpus * 1e9).round() as u64).filter(|cpus| *cpus > 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_quota: self.cpu_quota.filter(|quota| *quota > 0),
            cpu_period: self.cpu_period.filter(|period| *period > 0),
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self
                .pids_limit
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|limit| *limit > 0),
        })
    }

    fn log(&self) -> Result<LogDriver, Failure> {
        match self.log_driver.as_deref() {
            None | Some("json-file") => Ok(LogDriver::JsonFile),
            Some("local") => Ok(LogDriver::Local),
            Some("none") => Ok(LogDriver::None),
            Some(other) => {
                Err(Failure::new(format!("logger: no log driver named '{other}' is registered")))
            }
        }
    }
}
