//! A project as the specification describes it, with everything decided.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::develop::Develop;
use crate::forms::{self, Mapping, Words};

/// What is to run together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// The directory that relative paths start from.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The files it was read from.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// The services that are wanted, by name.
    pub services: BTreeMap<String, Service>,
    /// Networks, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
    /// Volumes, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, FileObject>,
    /// Configurations, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, FileObject>,
    /// Services that profiles leave out.
    #[serde(skip)]
    pub disabled: Vec<String>,
    /// What people should know: variables that are unset, keys that mean nothing here.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Whether names are those that Compose gave before its second version, with `_` in place of `-`.
    #[serde(skip)]
    pub compatibility: bool,
}

impl Project {
    /// What belongs to `service`: its image, or with a number behind it one of its containers.
    pub fn own_name(&self, service: &str) -> String {
        format!("{}{}{service}", self.name, self.separator())
    }

    /// What stands between the parts of a name.
    pub fn separator(&self) -> char {
        if self.compatibility { '_' } else { '-' }
    }

    /// What the container `number` of `service` is called, unless the service says.
    pub fn container_name(&self, service: &str, number: u32) -> String {
        format!("{}{}{number}", self.own_name(service), self.separator())
    }

    /// The names of the services, each after those it depends on.
    ///
    /// # Errors
    /// When services depend on each other in a circle, or on one that is not there.
    pub fn order(&self) -> Result<Vec<String>, crate::ComposeError> {
        crate::order::order(&self.services)
    }
}

/// Leaves what is empty out of what is written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One kind of container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Service {
    #[serde(skip_serializing_if = "is_default")]
    pub annotations: Mapping,
    #[serde(skip_serializing_if = "is_default")]
    pub blkio_config: Blkio,
    #[serde(skip_serializing_if = "is_default")]
    pub build: Option<Build>,
    #[serde(skip_serializing_if = "is_default")]
    pub cap_add: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub cap_drop: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub command: Option<Words>,
    #[serde(skip_serializing_if = "is_default")]
    pub configs: Vec<FileReference>,
    #[serde(skip_serializing_if = "is_default")]
    pub container_name: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpu_period: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpu_quota: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpu_shares: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpus: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpuset: Option<String>,
    #[serde(deserialize_with = "dependencies", skip_serializing_if = "is_default")]
    pub depends_on: BTreeMap<String, Dependency>,
    #[serde(skip_serializing_if = "is_default")]
    pub deploy: Deploy,
    #[serde(skip_serializing_if = "is_default")]
    pub develop: Develop,
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<String>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub dns: Vec<String>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub dns_opt: Vec<String>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub dns_search: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub domainname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub entrypoint: Option<Words>,
    #[serde(deserialize_with = "env_files", skip_serializing_if = "is_default")]
    pub env_file: Vec<EnvFile>,
    #[serde(skip_serializing_if = "is_default")]
    pub environment: Mapping,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub expose: Vec<String>,
    #[serde(deserialize_with = "hosts", skip_serializing_if = "is_default")]
    pub extra_hosts: Vec<String>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub group_add: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub image: Option<String>,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub init: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ipc: Option<String>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub label_file: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Mapping,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub links: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub logging: Option<Logging>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub mem_limit: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub mem_reservation: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub memswap_limit: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub network_mode: Option<String>,
    #[serde(deserialize_with = "memberships", skip_serializing_if = "is_default")]
    pub networks: BTreeMap<String, Membership>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub pid: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub pids_limit: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<Port>,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub privileged: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub pull_policy: PullPolicy,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub read_only: bool,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub restart: Option<String>,
    #[serde(deserialize_with = "forms::number", skip_serializing_if = "is_default")]
    pub scale: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: Vec<FileReference>,
    #[serde(skip_serializing_if = "is_default")]
    pub security_opt: Vec<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub shm_size: Option<String>,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub stop_grace_period: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub sysctls: Mapping,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub tmpfs: Vec<String>,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub tty: bool,
    #[serde(deserialize_with = "ulimits", skip_serializing_if = "is_default")]
    pub ulimits: BTreeMap<String, String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub userns_mode: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub uts: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub volumes: Vec<VolumeMount>,
    #[serde(deserialize_with = "forms::texts", skip_serializing_if = "is_default")]
    pub volumes_from: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: Option<String>,
}

impl Service {
    /// The services that it can't be without, as it shares something with them, and whether it is
    /// started again when they are.
    pub(crate) fn implied(&self) -> Vec<(String, bool)> {
        let modes = [&self.network_mode, &self.ipc, &self.pid].into_iter().flatten();
        let shared = modes.filter_map(|mode| mode.strip_prefix("service:"));
        let linked =
            self.links.iter().map(|link| link.split_once(':').map_or(&**link, |(name, _)| name));
        let volumes = self.volumes_from.iter().filter(|from| !from.starts_with("container:"));
        let volumes = volumes.map(|from| from.split_once(':').map_or(&**from, |(name, _)| name));
        let restarted = shared.chain(linked).map(|name| (name.to_owned(), true));
        restarted.chain(volumes.map(|name| (name.to_owned(), false))).collect()
    }

    /// How many containers there are to be.
    pub fn replicas(&self) -> u32 {
        self.scale.or(self.deploy.replicas).unwrap_or(1)
    }
}

/// How a service shares block devices with others, and what they give it at most in a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Blkio {
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub weight: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub device_read_bps: Vec<DeviceRate>,
    #[serde(skip_serializing_if = "is_default")]
    pub device_read_iops: Vec<DeviceRate>,
    #[serde(skip_serializing_if = "is_default")]
    pub device_write_bps: Vec<DeviceRate>,
    #[serde(skip_serializing_if = "is_default")]
    pub device_write_iops: Vec<DeviceRate>,
}

/// What one block device gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct DeviceRate {
    pub path: String,
    #[serde(deserialize_with = "forms::text")]
    pub rate: Option<String>,
}

/// Where what a service writes is kept, and how much of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Logging {
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub options: Mapping,
}

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Build {
    pub context: String,
    #[serde(skip_serializing_if = "is_default")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub dockerfile_inline: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub args: Mapping,
    #[serde(skip_serializing_if = "is_default")]
    pub cache_from: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Mapping,
    #[serde(skip_serializing_if = "is_default")]
    pub network: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub no_cache: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub target: Option<String>,
}

impl<'de> Deserialize<'de> for Build {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Whole {
            context: Option<String>,
            dockerfile: Option<String>,
            dockerfile_inline: Option<String>,
            args: Mapping,
            cache_from: Vec<String>,
            labels: Mapping,
            network: Option<String>,
            #[serde(deserialize_with = "forms::truth")]
            no_cache: bool,
            tags: Vec<String>,
            target: Option<String>,
        }
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        if let Value::String(context) = value {
            return Ok(Self { context, ..Self::default() });
        }
        let whole: Whole = serde_json::from_value(value).map_err(D::Error::custom)?;
        Ok(Self {
            context: whole.context.unwrap_or_else(|| ".".to_owned()),
            dockerfile: whole.dockerfile,
            dockerfile_inline: whole.dockerfile_inline,
            args: whole.args,
            cache_from: whole.cache_from,
            labels: whole.labels,
            network: whole.network,
            no_cache: whole.no_cache,
            tags: whole.tags,
            target: whole.target,
        })
    }
}

/// What has to be true of another service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dependency {
    /// What.
    pub condition: Condition,
    /// Whether it is started again when the other one is.
    pub restart: bool,
    /// Whether the other one has to be there at all.
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self { condition: Condition::ServiceStarted, restart: false, required: true }
    }
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was started.
    #[default]
    ServiceStarted,
    /// Its health check says that it is well.
    ServiceHealthy,
    /// It has ended with exit code 0.
    ServiceCompletedSuccessfully,
}

impl Condition {
    /// Its name in a Compose file.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceStarted => "service_started",
            Self::ServiceHealthy => "service_healthy",
            Self::ServiceCompletedSuccessfully => "service_completed_successfully",
        }
    }
}

fn dependencies<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Dependency>, D::Error> {
    named(deserializer)
}

fn memberships<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Membership>, D::Error> {
    named(deserializer)
}

/// A mapping, or a list of names that have nothing more to say.
fn named<'de, D: Deserializer<'de>, T: Default + for<'a> Deserialize<'a>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(BTreeMap::new()),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let name = item.as_str().map(str::to_owned);
                name.map(|name| (name, T::default()))
                    .ok_or_else(|| D::Error::custom(format!("{item} is not a name")))
            })
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match value {
                Value::Null => Ok((name, T::default())),
                value => match serde_json::from_value(value) {
                    Ok(value) => Ok((name, value)),
                    Err(error) => Err(D::Error::custom(format!("{name}: {error}"))),
                },
            })
            .collect(),
        other => Err(D::Error::custom(format!("{other} is neither a mapping nor a list"))),
    }
}

/// How a service is on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Membership {
    /// Further names.
    #[serde(skip_serializing_if = "is_default")]
    pub aliases: Vec<String>,
    /// A certain address.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv4_address: Option<String>,
    /// A certain IPv6 address.
    #[serde(skip_serializing_if = "is_default")]
    pub ipv6_address: Option<String>,
    /// The larger one is first.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: i32,
}

/// What concerns the number and size of containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// How many containers.
    #[serde(deserialize_with = "forms::number", skip_serializing_if = "is_default")]
    pub replicas: Option<u32>,
    /// What they may use.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
}

/// What a container may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At most.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// At least, under pressure.
    #[serde(skip_serializing_if = "is_default")]
    pub reservations: Limits,
}

/// Amounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Processors.
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub cpus: Option<String>,
    /// Memory, with a unit.
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub memory: Option<String>,
    /// Processes.
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub pids: Option<String>,
}

/// A file of variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvFile {
    /// Its path.
    pub path: String,
    /// Whether it has to be there.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

fn env_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EnvFile>, D::Error> {
    use serde::de::Error as _;
    let items = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        one => vec![one],
    };
    items
        .into_iter()
        .map(|item| match item {
            Value::String(path) => Ok(EnvFile { path, required: true }),
            other => serde_json::from_value(other).map_err(D::Error::custom),
        })
        .collect()
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, address)| {
                let address = forms::scalar(address);
                address
                    .map(|address| format!("{name}={address}"))
                    .ok_or_else(|| D::Error::custom(format!("{name} has no address")))
            })
            .collect(),
        other => forms::texts(other).map_err(D::Error::custom),
    }
}

fn ulimits<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    use serde::de::Error as _;
    let limits = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let text = |(name, value): (String, Value)| {
        let limit = match (&value["soft"], &value["hard"]) {
            (Value::Null, Value::Null) => forms::scalar(&value),
            (soft, hard) => forms::scalar(soft)
                .and_then(|soft| Some(format!("{soft}:{}", forms::scalar(hard)?))),
        };
        let wrong = || D::Error::custom(format!("{name}: give a number, or soft and hard"));
        Ok((name.clone(), limit.ok_or_else(wrong)?))
    };
    limits.into_iter().map(text).collect()
}

/// How to find out whether a container is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Healthcheck {
    #[serde(deserialize_with = "test", skip_serializing_if = "is_default")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub interval: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<String>,
    #[serde(deserialize_with = "forms::number", skip_serializing_if = "is_default")]
    pub retries: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub start_period: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub start_interval: Option<String>,
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub disable: bool,
}

fn test<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::String(command) => Ok(vec!["CMD-SHELL".to_owned(), command]),
        other => forms::texts(other).map_err(D::Error::custom),
    }
}

/// A port that the host leads to containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Port {
    /// As `--publish` takes it.
    #[serde(flatten)]
    pub parts: PortParts,
}

/// The parts of a [`Port`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortParts {
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub host_ip: Option<String>,
    #[serde(deserialize_with = "forms::text")]
    pub target: Option<String>,
    #[serde(deserialize_with = "forms::text", skip_serializing_if = "is_default")]
    pub published: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: Option<String>,
}

impl Port {
    /// As `--publish` takes it.
    pub fn words(&self) -> String {
        let PortParts { host_ip, target, published, protocol, .. } = &self.parts;
        let mut words = String::new();
        if let Some(ip) = host_ip {
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
            words = format!("{ip}:");
        }
        if published.is_some() || host_ip.is_some() {
            words.push_str(published.as_deref().unwrap_or_default());
            words.push(':');
        }
        words.push_str(target.as_deref().unwrap_or_default());
        if let Some(protocol) = protocol {
            words.push('/');
            words.push_str(protocol);
        }
        words
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        if value.is_object() {
            let mut fields = value;
            if let Some(fields) = fields.as_object_mut() {
                fields.retain(|key, _| !matches!(key.as_str(), "name" | "app_protocol"));
            }
            let parts = serde_json::from_value(fields).map_err(D::Error::custom)?;
            return Ok(Self { parts });
        }
        let text = forms::scalar(&value)
            .ok_or_else(|| D::Error::custom(format!("{value} is not a port")))?;
        let (rest, protocol) = match text.rsplit_once('/') {
            Some((rest, protocol)) => (rest, protocol.to_owned()),
            None => (text.as_str(), "tcp".to_owned()),
        };
        let (rest, target) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (host_ip, published) = match rest.rsplit_once(':') {
            Some((ip, port)) => (Some(ip.trim_matches(['[', ']']).to_owned()), port),
            None => (None, rest),
        };
        Ok(Self {
            parts: PortParts {
                mode: Some("ingress".to_owned()),
                host_ip,
                target: Some(target.to_owned()),
                published: Some(published.to_owned()).filter(|port| !port.is_empty()),
                protocol: Some(protocol),
            },
        })
    }
}

/// Something mounted in containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum VolumeMount {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: String,
        /// Where it is mounted.
        target: String,
        /// It cannot be written.
        #[serde(default, skip_serializing_if = "is_default")]
        read_only: bool,
        /// It is made when it is missing.
        #[serde(default = "yes")]
        create_host_path: bool,
    },
    /// A volume.
    Volume {
        /// Its name in the project; a new one without a name when absent.
        #[serde(default, skip_serializing_if = "is_default")]
        source: Option<String>,
        /// Where it is mounted.
        target: String,
        /// It cannot be written.
        #[serde(default, skip_serializing_if = "is_default")]
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Where it is mounted.
        target: String,
    },
}

/// A network of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// What it is called outside of the project.
    pub name: Option<String>,
    /// `bridge`.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "is_default")]
    pub driver_opts: Mapping,
    /// It is not the project's: somebody else makes and removes it.
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub external: bool,
    /// There is no way out of it.
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Kept and shown.
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub attachable: bool,
    /// It has IPv6 addresses, too.
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub enable_ipv6: bool,
    /// Labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Mapping,
    /// Its addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub ipam: Ipam,
}

/// Addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// One for each part; the first of IPv4 and the first of IPv6 are used.
    #[serde(skip_serializing_if = "is_default")]
    pub config: Vec<Pool>,
}

/// A part of the addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the specification, by name")]
pub struct Pool {
    #[serde(skip_serializing_if = "is_default")]
    pub subnet: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub ip_range: Option<String>,
}

/// A volume of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Volume {
    /// What it is called outside of the project.
    pub name: Option<String>,
    /// `local`.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// It is not the project's.
    #[serde(deserialize_with = "forms::truth", skip_serializing_if = "is_default")]
    pub external: bool,
    /// Labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Mapping,
}

/// A secret or a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileObject {
    /// The file that has it.
    #[serde(skip_serializing_if = "is_default")]
    pub file: Option<String>,
    /// The variable that has it.
    #[serde(skip_serializing_if = "is_default")]
    pub environment: Option<String>,
    /// Itself.
    #[serde(skip_serializing_if = "is_default")]
    pub content: Option<String>,
    /// What a variable or the Compose file has of it.
    #[serde(skip)]
    pub value: Option<String>,
    /// What it is called.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
}

/// A secret or a configuration in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReference {
    /// Its name in the project.
    pub source: String,
    /// Where it is put; below the usual directory by its name when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub target: Option<String>,
    /// Whose it is, unless it is a file of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub uid: Option<u32>,
    /// Its group, unless it is a file of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub gid: Option<u32>,
    /// Who may do what with it, unless it is a file of the host.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: Option<u32>,
}

impl<'de> Deserialize<'de> for FileReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = Value::deserialize(deserializer)?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        // In quotes a mode is octal, as it is when it begins with a zero. The parser takes that for a
        // decimal fraction, of which nothing but the digits counts.
        let number = |key: &str, radix: u32| match &value[key] {
            Value::Null => Ok(None),
            Value::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), radix)
                .map(Some)
                .map_err(|_| D::Error::custom(format!("{key}: {text:?} is not a number"))),
            Value::Number(digits) if digits.is_f64() => {
                u32::from_str_radix(digits.to_string().trim_end_matches(".0"), radix)
                    .map(Some)
                    .map_err(|_| D::Error::custom(format!("{key}: {digits} is not a number")))
            }
            other => match other.as_u64().and_then(|number| u32::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(D::Error::custom(format!("{key}: {other} is not a number"))),
            },
        };
        match &value {
            Value::String(source) => {
                Ok(Self { source: source.clone(), target: None, uid: None, gid: None, mode: None })
            }
            Value::Object(_) => Ok(Self {
                source: text("source").ok_or_else(|| D::Error::custom("source is missing"))?,
                target: text("target"),
                uid: number("uid", 10)?,
                gid: number("gid", 10)?,
                mode: number("mode", 8)?,
            }),
            other => Err(D::Error::custom(format!("{other} is not a name"))),
        }
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    #[serde(alias = "if_not_present")]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
    /// It is built instead.
    Build,
}
