//! Networks: bridges that containers are plugged into, and the three that are always there.
//!
//! A network that somebody made is `networks/NAME.json` in the store's root. Its bridge is set up when
//! it is made and whenever a container needs it, so that it is there again after a start of the
//! machine.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::SystemTime;

use bld_network::{Bridge, BridgeConfig, Range6, Subnet, Subnet6};
use bld_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::containers::{Attachment, Container, NetworkMode, names};
use crate::error::IoContext as _;
use crate::events::Event;
use crate::{Engine, EngineError, Result};

mod overlay;

/// The option by which docker sets the longest packet.
const MTU: &str = "com.docker.network.driver.mtu";

/// One network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// What it is made of.
    pub driver: Driver,
    /// The addresses it has; none where it has none of its own, or none yet.
    pub subnet: Option<Subnet>,
    /// The bridge's own address.
    pub gateway: Option<Ipv4Addr>,
    /// Where the addresses of containers are taken from.
    pub ip_range: Option<Subnet>,
    /// Addresses that somebody else has, by what that is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Its IPv6 addresses, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Range6>,
    /// There is no way out of it.
    pub internal: bool,
    /// Kept and shown; containers can always be attached by hand.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// What a network is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge.
    #[default]
    Bridge,
    /// A bridge that is one with those of other hosts.
    Overlay,
    /// The host's own.
    Host,
    /// Nothing.
    Null,
}

impl Driver {
    /// The driver of that name that networks can be made with.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bridge, Self::Overlay].into_iter().find(|driver| driver.name() == name)
    }

    /// Whether containers are plugged into it.
    pub fn has_bridge(self) -> bool {
        matches!(self, Self::Bridge | Self::Overlay)
    }

    /// `bridge`, `overlay`, `host` or `null`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// What a new network is to be.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// What it is made of: a bridge, alone or with those of other hosts.
    pub driver: Driver,
    /// Its addresses; a free part of 10.88.0.0/16 to 10.127.0.0/16 when absent.
    pub subnet: Option<Subnet>,
    /// The bridge's own address; the first of the subnet when absent.
    pub gateway: Option<Ipv4Addr>,
    /// Where the addresses of containers are taken from; the whole subnet when absent.
    pub ip_range: Option<Subnet>,
    /// Addresses that are not given out: somebody else has them.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// It has IPv6 addresses, too.
    pub ipv6: bool,
    /// Those; a unique local network of 64 bits when absent.
    pub subnet6: Option<Subnet6>,
    /// The bridge's own; the first of the subnet when absent.
    pub gateway6: Option<Ipv6Addr>,
    /// There is to be no way out of it.
    pub internal: bool,
    /// Kept and shown.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

impl Network {
    /// Whether it is one of the three that are always there.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.iter().any(|(name, _)| *name == self.name)
    }

    /// The first 12 digits of the id, as lists show it.
    pub fn short_id(&self) -> String {
        self.id.chars().take(12).collect()
    }
}

const PREDEFINED: [(&str, Driver); 3] =
    [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)];

/// The name of the network that has the default bridge.
pub(crate) const DEFAULT: &str = "bridge";

impl Engine {
    fn networks_dir(&self) -> Result<PathBuf> {
        Ok(self.store()?.root().join("networks"))
    }

    fn predefined(&self) -> impl Iterator<Item = Network> {
        let default = self.config().bridge.clone();
        PREDEFINED.into_iter().map(move |(name, driver)| {
            let bridge = driver == Driver::Bridge;
            let subnet = default.subnet.filter(|_| bridge);
            Network {
                id: Digest::of(format!("network {name} of {}", default.name).as_bytes()).hex(),
                name: name.to_owned(),
                created: SystemTime::UNIX_EPOCH,
                driver,
                subnet,
                gateway: subnet.map(Subnet::gateway),
                ip_range: None,
                auxiliary: BTreeMap::new(),
                v6: None,
                internal: false,
                attachable: false,
                labels: BTreeMap::new(),
                options: BTreeMap::new(),
            }
        })
    }

    /// All networks, the newest first and those that are always there in the end.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let dir = self.networks_dir()?;
        let mut networks = Vec::new();
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", &dir),
            Ok(entries) => {
                for entry in entries {
                    let path = entry.at("read", &dir)?.path();
                    if path.extension().is_some_and(|end| end == "json")
                        && let Some(network) = read(&path)?
                    {
                        networks.push(network);
                    }
                }
            }
        }
        networks.sort_by_key(|network| std::cmp::Reverse(network.created));
        networks.extend(self.predefined());
        Ok(networks)
    }

    /// The network `name` stands for: its name, its id, or the unique start of its id.
    ///
    /// # Errors
    /// [`EngineError::NoSuchNetwork`]
    pub fn network(&self, name: &str) -> Result<Network> {
        let missing = || EngineError::NoSuchNetwork { name: name.to_owned() };
        if is_valid(name)
            && let Some(network) = read(&self.networks_dir()?.join(format!("{name}.json")))?
        {
            return Ok(network);
        }
        let networks = self.networks()?;
        let fits = |network: &&Network| network.name == name || network.id == name;
        if let Some(network) = networks.iter().find(fits) {
            return Ok(network.clone());
        }
        let mut starting =
            networks.iter().filter(|network| name.len() >= 2 && network.id.starts_with(name));
        match (starting.next(), starting.next()) {
            (Some(network), None) => Ok(network.clone()),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousNetwork { prefix: name.to_owned() }),
            (None, _) => Err(missing()),
        }
    }

    /// As [`network`](Self::network), with the addresses of the default bridge, which is set up for
    /// that if it is not yet.
    pub fn network_set_up(&self, name: &str) -> Result<Network> {
        let mut network = self.network(name)?;
        if network.driver.has_bridge() && network.subnet.is_none() {
            let bridge = self.bridge(&network)?;
            network.subnet = Some(bridge.subnet());
            network.gateway = Some(bridge.gateway());
        }
        Ok(network)
    }

    /// Makes a network.
    pub fn create_network(&self, request: &NetworkRequest) -> Result<Network> {
        let name = &request.name;
        if !is_valid(name) {
            return Err(EngineError::NetworkName { name: name.clone() });
        }
        if PREDEFINED.iter().any(|(known, _)| known == name) {
            return Err(EngineError::PredefinedNetwork { name: name.clone() });
        }
        check(request)?;
        let dir = self.networks_dir()?;
        fs::create_dir_all(&dir).at("create", &dir)?;
        let path = dir.join(format!("{name}.json"));
        let taken = || EngineError::NetworkExists { name: name.clone() };
        if path.exists() {
            return Err(taken());
        }
        let mut network = Network {
            id: names::id().at("read", "/dev/urandom")?,
            name: name.clone(),
            created: SystemTime::now(),
            driver: request.driver,
            subnet: request.subnet,
            gateway: request.gateway.or_else(|| own_gateway(request)),
            ip_range: request.ip_range,
            auxiliary: request.auxiliary.clone(),
            v6: None,
            internal: request.internal,
            attachable: request.attachable,
            labels: request.labels.clone(),
            options: request.options.clone(),
        };
        if network.driver == Driver::Overlay {
            overlay::of(&network)?;
        }
        let known = self.networks()?;
        let others: Vec<Subnet> = known.iter().filter_map(|network| network.subnet).collect();
        if let Some(subnet) = request.subnet
            && others.iter().any(|other| other.overlaps(subnet))
        {
            return Err(EngineError::NetworkOverlap { subnet: subnet.to_string() });
        }
        if request.ipv6 || request.subnet6.is_some() {
            let subnet = request.subnet6.unwrap_or_else(|| Subnet6::unique_local(&network.id));
            let overlaps = |v6: Range6| v6.subnet.overlaps(subnet);
            if known.iter().filter_map(|network| network.v6).any(overlaps) {
                return Err(EngineError::NetworkOverlap { subnet: subnet.to_string() });
            }
            let gateway = request.gateway6.unwrap_or(subnet.host(1));
            network.v6 = Some(Range6 { subnet, gateway });
        }
        let bridge = self.bridge_avoiding(&network, others)?;
        network.subnet = Some(bridge.subnet());
        network.gateway = Some(bridge.gateway());
        let written = OpenOptions::new().write(true).create_new(true).open(&path);
        let written = written.and_then(|mut file| file.write_all(&serde_json::to_vec(&network)?));
        match written {
            Ok(()) => {
                self.announce([Event::network("create", &network.name, &network.id)]);
                Ok(network)
            }
            Err(error) => {
                bridge.teardown()?;
                match error.kind() {
                    ErrorKind::AlreadyExists => Err(taken()),
                    _ => Err(error).at("write", &path),
                }
            }
        }
    }

    /// The containers of a network that run.
    pub fn network_users(&self, name: &str) -> Result<Vec<Container>> {
        let mut containers = self.all_containers()?;
        containers.retain(|container| {
            container.state.is_running() && container.networks.contains_key(name)
        });
        Ok(containers)
    }

    /// Removes a network, which no running container may be on; its name.
    pub fn remove_network(&self, name: &str) -> Result<String> {
        let network = self.network(name)?;
        if network.is_predefined() {
            return Err(EngineError::RemovePredefinedNetwork { name: network.name });
        }
        if let Some(user) = self.network_users(&network.name)?.into_iter().next() {
            return Err(EngineError::NetworkInUse {
                name: network.name,
                id: network.id,
                container: user.name,
            });
        }
        let path = self.networks_dir()?.join(format!("{}.json", network.name));
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(EngineError::NoSuchNetwork { name: name.to_owned() });
            }
            removed => removed.at("remove", &path)?,
        }
        Bridge::remove(&self.bridge_config(&network, Vec::new()), &self.config().run_dir)?;
        self.announce([Event::network("destroy", &network.name, &network.id)]);
        Ok(network.name)
    }

    /// Removes the networks that no container is on and `wanted` lets through; their names.
    pub fn prune_networks(&self, wanted: &dyn Fn(&Network) -> bool) -> Result<Vec<String>> {
        let containers = self.all_containers()?;
        let mut removed = Vec::new();
        for network in self.networks()? {
            let used = containers.iter().any(|c| c.networks.contains_key(&network.name));
            if used || network.is_predefined() || !wanted(&network) {
                continue;
            }
            match self.remove_network(&network.name) {
                Ok(name) => removed.push(name),
                // Somebody was quicker, one way or the other.
                Err(EngineError::NetworkInUse { .. } | EngineError::NoSuchNetwork { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Puts a container on a further network, at once if it runs.
    pub fn connect_network(&self, name: &str, container: &str, wish: Attachment) -> Result<()> {
        let network = self.network(name)?;
        let container = self.find_container(container)?;
        if !network.driver.has_bridge() || !container.host.network.is_bridged() {
            let mode = match container.host.network {
                NetworkMode::Bridge | NetworkMode::Named(_) => network.name,
                other => other.name(),
            };
            return Err(EngineError::NotConnectable { container: container.name, mode });
        }
        if container.networks.contains_key(&network.name) {
            let (container, network) = (container.name, network.name);
            return Err(EngineError::AlreadyConnected { container, network });
        }
        let (internal, wide) = (network.internal, network.driver == Driver::Overlay);
        let mut wish = Attachment { endpoint: None, internal, wide, ..wish };
        if let Some(netns) = container.netns()? {
            let others = container.networks.values().collect::<Vec<_>>();
            let endpoint = self.plug(&network, &container.id, &wish, &others, netns.as_fd())?;
            wish.endpoint = Some(endpoint);
        }
        self.update(&container.id, |container| {
            container.networks.insert(network.name.clone(), wish);
        })?;
        self.announce_place(&container, "connect", &network);
        self.refresh(&container)
    }

    /// Takes a container off a network, at once if it runs.
    pub fn disconnect_network(&self, name: &str, container: &str, force: bool) -> Result<()> {
        let network = self.network(name)?;
        let container = match self.find_container(container) {
            Err(EngineError::NoSuchContainer { .. }) if force => return Ok(()),
            container => container?,
        };
        let Some(attachment) = container.networks.get(&network.name) else {
            let (container, network) = (container.id, network.name);
            return Err(EngineError::NotConnected { container, network });
        };
        if let Some(endpoint) = &attachment.endpoint {
            self.bridge(&network)?.detach(endpoint)?;
        }
        let now = self.update(&container.id, |container| {
            container.networks.remove(&network.name);
        })?;
        if let (Some(netns), Some(endpoint)) = (now.netns()?, now.main_endpoint()) {
            Bridge::lead_out(netns.as_fd(), endpoint)?;
        }
        self.announce_place(&container, "disconnect", &network);
        self.refresh(&container)
    }

    fn announce_place(&self, container: &Container, action: &str, network: &Network) {
        self.announce([Event::network_of(container, action, &network.name, &network.id)]);
    }

    /// The bridge of a network, set up.
    pub(crate) fn bridge(&self, network: &Network) -> Result<Bridge> {
        self.bridge_avoiding(network, Vec::new())
    }

    fn bridge_avoiding(&self, network: &Network, others: Vec<Subnet>) -> Result<Bridge> {
        let run_dir = &self.config().run_dir;
        fs::create_dir_all(run_dir).at("create", run_dir)?;
        Ok(Bridge::ensure(&self.bridge_config(network, others), run_dir)?)
    }

    fn bridge_config(&self, network: &Network, avoid: Vec<Subnet>) -> BridgeConfig {
        if network.name == DEFAULT {
            return self.config().bridge.clone();
        }
        // Links have at most 15 characters.
        let link = format!("bld-{}", network.id.get(..10).unwrap_or(&network.id));
        BridgeConfig {
            table: link.clone(),
            name: link,
            subnet: network.subnet,
            gateway: network.gateway,
            internal: network.internal,
            avoid,
            mtu: network.options.get(MTU).and_then(|mtu| mtu.parse().ok()),
            v6: network.v6,
            overlay: match network.driver {
                Driver::Overlay => overlay::of(network).ok(),
                Driver::Bridge | Driver::Host | Driver::Null => None,
            },
        }
    }
}

/// Of networks that several hosts share, each has a gateway of its own.
fn own_gateway(request: &NetworkRequest) -> Option<Ipv4Addr> {
    let range = request.ip_range.filter(|_| request.driver == Driver::Overlay);
    range.map(Subnet::gateway)
}

/// Like names of containers, but one character is enough.
fn is_valid(name: &str) -> bool {
    names::is_valid(name) || matches!(name.as_bytes(), [one] if one.is_ascii_alphanumeric())
}

fn check(request: &NetworkRequest) -> Result<()> {
    let invalid = |what: String| Err(EngineError::Invalid { what });
    // A container has the same number in both networks.
    let bits = 32 - request.subnet.map_or(16, Subnet::prefix);
    match (request.subnet6, request.gateway6) {
        (Some(subnet), _) if 128 - subnet.prefix() < bits => {
            return invalid(format!("subnet {subnet} has to have 2^{bits} addresses at least"));
        }
        (Some(subnet), Some(gateway)) if !subnet.contains(gateway) => {
            return invalid(format!("no matching subnet for gateway {gateway}"));
        }
        (None, Some(gateway)) => {
            return invalid(format!("no matching subnet for gateway {gateway}"));
        }
        _ => {}
    }
    let Some(subnet) = request.subnet else {
        let more = request.gateway.is_some() || request.ip_range.is_some();
        if more || !request.auxiliary.is_empty() {
            return invalid(
                "a gateway, a range or other addresses need a subnet: give --subnet".into(),
            );
        }
        return Ok(());
    };
    if subnet.prefix() > 30 {
        return invalid(format!("subnet {subnet} has no room for a container"));
    }
    if let Some(ip) = request.auxiliary.values().find(|ip| !subnet.contains(**ip)) {
        return invalid(format!("no matching subnet for aux-address {ip}"));
    }
    match (request.gateway, request.ip_range) {
        (Some(gateway), _) if !subnet.contains(gateway) => {
            invalid(format!("no matching subnet for gateway {gateway}"))
        }
        (_, Some(range)) if !subnet.contains(range.base()) || range.prefix() < subnet.prefix() => {
            invalid(format!("no matching subnet for range {range}"))
        }
        _ => Ok(()),
    }
}

fn read(path: &std::path::Path) -> Result<Option<Network>> {
    match fs::read(path) {
        Ok(text) => {
            let network = serde_json::from_slice(&text).map_err(std::io::Error::from);
            network.map(Some).at("read", path)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}
