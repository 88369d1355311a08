//! A bridge on the host that containers are plugged into.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::Ipv4Addr,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::{
    Endpoint, Mac, NetworkError, Subnet,
    firewall::{self, Rules},
    link::{self, Cable},
    netlink::Socket,
    netns,
};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the interface inside a namespace.
const INTERFACE: &str = "eth0";

/// How a bridge is to be.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Name of the bridge's link on the host, 1 to 15 letters, digits, `-` or `_`.
    pub name: String,
    /// Addresses to give out. `None` takes those the bridge has already, else the first of
    /// 10.88.0.0/16 to 10.127.0.0/16 that overlaps none of the host's routes.
    pub subnet: Option<Subnet>,
    /// Name of the firewall table (`nft list table ip NAME`), one for each bridge.
    pub table: String,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self { name: "bld0".to_owned(), subnet: None, table: "bld".to_owned() }
    }
}

/// A bridge that is up, has its address, and whose packets the host forwards and translates.
#[derive(Clone, Debug)]
pub struct Bridge {
    name: String,
    table: String,
    index: u32,
    subnet: Subnet,
    mtu: u32,
    state: PathBuf,
}

/// What was true when the bridge was last set up; believed as long as boot, link and firewall agree.
#[derive(Serialize, Deserialize)]
struct State {
    boot_id: String,
    index: u32,
    subnet: Subnet,
    mtu: u32,
    table: String,
    generation: u32,
}

impl Bridge {
    /// Makes sure that the bridge exists and works, and leaves alone what is in place already.
    ///
    /// `state_dir` is made when missing; it holds a note by which later calls know that nothing
    /// changed, and a lock so that simultaneous calls set up once. Losing it costs time only. The
    /// host's IPv4 forwarding is turned on.
    pub fn ensure(config: &BridgeConfig, state_dir: &Path) -> Result<Self, NetworkError> {
        valid(&config.name)?;
        valid(&config.table)?;
        let socket =
            Socket::route().map_err(NetworkError::netlink("open a socket for", &config.name))?;
        let state = state_dir.join(format!("{}.json", config.name));
        if let Some(bridge) = Self::recall(config, &socket, &state)? {
            return Ok(bridge);
        }

        fs::create_dir_all(state_dir).map_err(NetworkError::io(state_dir))?;
        let lock = state_dir.join(format!("{}.lock", config.name));
        let _locked = File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(NetworkError::io(lock))?;
        // Somebody else may have done it while we waited.
        if let Some(bridge) = Self::recall(config, &socket, &state)? {
            return Ok(bridge);
        }
        let bridge = Self::set_up(config, &socket, state)?;
        if fs::read(IP_FORWARD).map_err(NetworkError::io(IP_FORWARD))?.first() != Some(&b'1') {
            fs::write(IP_FORWARD, "1").map_err(NetworkError::io(IP_FORWARD))?;
        }
        match bridge.rules().apply()? {
            Some(generation) => bridge.remember(generation)?,
            None => forget(&bridge.state)?,
        }
        Ok(bridge)
    }

    /// The bridge as the note describes it, when the note is still true.
    fn recall(
        config: &BridgeConfig,
        socket: &Socket,
        path: &Path,
    ) -> Result<Option<Self>, NetworkError> {
        let Ok(text) = fs::read(path) else { return Ok(None) };
        let Ok(state) = serde_json::from_slice::<State>(&text) else { return Ok(None) };
        let wanted = config.table == state.table
            && config.subnet.is_none_or(|subnet| subnet == state.subnet)
            && boot_id()? == state.boot_id
            && fs::read(IP_FORWARD).is_ok_and(|text| text.first() == Some(&b'1'))
            && firewall::generation() == Ok(state.generation);
        if !wanted {
            return Ok(None);
        }
        let found = link::by_name(socket, &config.name)
            .map_err(NetworkError::netlink("look up", &config.name))?;
        Ok(found.filter(|link| link.index == state.index && link.up).map(|link| Self {
            name: config.name.clone(),
            table: state.table,
            index: link.index,
            subnet: state.subnet,
            mtu: state.mtu,
            state: path.to_owned(),
        }))
    }

    /// Creates what is missing of link and address.
    fn set_up(
        config: &BridgeConfig,
        socket: &Socket,
        state: PathBuf,
    ) -> Result<Self, NetworkError> {
        let name = &config.name;
        let failed = |operation| NetworkError::netlink(operation, name);
        let look = || link::by_name(socket, name).map_err(failed("look up"));

        let existing = look()?;
        let own_index = existing.as_ref().map_or(0, |link| link.index);
        let routes = link::routes(socket).map_err(failed("list the routes around"))?;
        let subnet = match (config.subnet, &existing) {
            (Some(subnet), _) => match clash(subnet, &routes, own_index) {
                Some(route) => return Err(NetworkError::SubnetClash { subnet, route }),
                None => subnet,
            },
            (None, Some(link)) => link::addresses(socket, link.index)
                .map_err(failed("list the addresses of"))?
                .first()
                .map_or_else(
                    || free_subnet(&routes, own_index),
                    |(ip, prefix)| Ok(Subnet::new(*ip, *prefix)),
                )?,
            (None, None) => free_subnet(&routes, own_index)?,
        };

        let found = if let Some(link) = existing {
            link
        } else {
            let mtu = uplink_mtu(socket, &routes).map_err(failed("find the MTU for"))?;
            match link::add_bridge(socket, name, Mac::for_ip(subnet.gateway()), mtu) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(failed("create bridge")(error)),
            }
            look()?.ok_or(Errno::ENODEV).map_err(failed("look up"))?
        };
        if !found.is_bridge {
            return Err(NetworkError::NotABridge { name: name.clone() });
        }
        link::add_address(socket, found.index, subnet.gateway(), subnet)
            .map_err(failed("give an address to"))?;
        if !found.up {
            link::set_up(socket, found.index).map_err(failed("bring up"))?;
        }
        Ok(Self {
            name: name.clone(),
            table: config.table.clone(),
            index: found.index,
            subnet,
            mtu: found.mtu,
            state,
        })
    }

    fn remember(&self, generation: u32) -> Result<(), NetworkError> {
        let state = State {
            boot_id: boot_id()?,
            index: self.index,
            subnet: self.subnet,
            mtu: self.mtu,
            table: self.table.clone(),
            generation,
        };
        let text = serde_json::to_vec(&state)
            .map_err(|error| NetworkError::io(&self.state)(error.into()))?;
        let fresh = self.state.with_extension("json.new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &self.state))
            .map_err(NetworkError::io(&self.state))
    }

    fn rules(&self) -> Rules<'_> {
        Rules { table: &self.table, bridge: &self.name, subnet: self.subnet }
    }

    /// Name of the bridge's link.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The addresses it gives out.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Its own address, by which containers reach the host and the world.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.gateway()
    }

    /// Gives a namespace the interface `eth0` with an address nobody else has, and a default route.
    ///
    /// `id` names the container: while its address is free, the same `id` gets the same one again.
    /// When the namespace dies, everything this made dies with it.
    pub fn attach(&self, netns: BorrowedFd<'_>, id: &str) -> Result<Endpoint, NetworkError> {
        let socket =
            Socket::route().map_err(NetworkError::netlink("open a socket for", &self.name))?;
        let endpoint = self.plug(&socket, netns, id)?;
        let configured = netns::inside(netns, || {
            let configure = || {
                let inner = Socket::route()?;
                let index = link::by_name(&inner, INTERFACE)?.ok_or(Errno::ENODEV)?.index;
                link::add_address(&inner, index, endpoint.ip, self.subnet)?;
                link::set_up(&inner, index)?;
                link::add_default_route(&inner, index, self.gateway())
            };
            configure().map_err(NetworkError::netlink("configure", INTERFACE))
        });
        if let Err(error) = configured {
            // The cause is what counts; should the link stay, the namespace's end removes it.
            let _ = link::delete(&socket, &endpoint.host_link);
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Creates the cable under the name of the first free address.
    fn plug(
        &self,
        socket: &Socket,
        netns: BorrowedFd<'_>,
        id: &str,
    ) -> Result<Endpoint, NetworkError> {
        let full = || NetworkError::Full { bridge: self.name.clone(), subnet: self.subnet };
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let first = hasher.finish() as u32 % self.subnet.usable().max(1);
        for n in 0..self.subnet.usable() {
            let ip = self.subnet.nth(first + n);
            let host_link = format!("bldv{:08x}", u32::from(ip));
            let mac = Mac::for_ip(ip);
            let cable = Cable {
                host_link: &host_link,
                bridge: self.index,
                interface: INTERFACE,
                netns,
                mac,
                mtu: self.mtu,
            };
            match link::add_cable(socket, &cable) {
                Ok(()) => {
                    return Ok(Endpoint {
                        ip,
                        prefix: self.subnet.prefix(),
                        gateway: self.gateway(),
                        mac,
                        interface: INTERFACE.to_owned(),
                        host_link,
                    });
                }
                Err(Errno::EXFULL) => return Err(full()), // the bridge has no port left
                Err(error) => {
                    // Only a name taken on this side means that somebody else has the address.
                    let taken = error == Errno::EEXIST
                        && link::by_name(socket, &host_link)
                            .map_err(NetworkError::netlink("look up", &host_link))?
                            .is_some();
                    if !taken {
                        return Err(NetworkError::netlink("attach a container to", &self.name)(
                            error,
                        ));
                    }
                }
            }
        }
        Err(full())
    }

    /// Takes a namespace's interface away again, at once; fine when it is gone already.
    pub fn detach(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let name = &endpoint.host_link;
        Socket::route()
            .and_then(|socket| link::delete(&socket, name))
            .map(drop)
            .map_err(NetworkError::netlink("delete", name))
    }

    /// Removes the bridge and its firewall rules from the host. Containers still attached lose their
    /// connection. IPv4 forwarding stays on, since others may rely on it by now.
    pub fn teardown(self) -> Result<(), NetworkError> {
        forget(&self.state)?;
        Socket::route()
            .and_then(|socket| link::delete(&socket, &self.name))
            .map_err(NetworkError::netlink("delete", &self.name))?;
        self.rules().remove()
    }
}

/// The first of the default subnets that no route of the host overlaps.
fn free_subnet(routes: &[link::Route], own_index: u32) -> Result<Subnet, NetworkError> {
    (88..128)
        .map(|second| Subnet::new(Ipv4Addr::new(10, second, 0, 0), 16))
        .find(|subnet| clash(*subnet, routes, own_index).is_none())
        .ok_or(NetworkError::NoFreeSubnet)
}

/// The route in the way of `subnet`. The default route is in nobody's way, nor is the bridge's own.
fn clash(subnet: Subnet, routes: &[link::Route], own_index: u32) -> Option<Subnet> {
    routes
        .iter()
        .filter(|route| route.link != own_index && route.destination.prefix() > 0)
        .map(|route| route.destination)
        .find(|destination| destination.overlaps(subnet))
}

/// The MTU of the link that leads to the world: larger packets would be dropped there, and not every
/// server on the way says so.
fn uplink_mtu(socket: &Socket, routes: &[link::Route]) -> Result<u32, Errno> {
    let uplink = routes.iter().find(|route| route.destination.prefix() == 0);
    let link = uplink.map(|route| link::by_index(socket, route.link)).transpose()?;
    Ok(link.flatten().map_or(1500, |link| link.mtu))
}

fn boot_id() -> Result<String, NetworkError> {
    let text = fs::read_to_string(BOOT_ID).map_err(NetworkError::io(BOOT_ID))?;
    Ok(text.trim().to_owned())
}

fn forget(state: &Path) -> Result<(), NetworkError> {
    match fs::remove_file(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(NetworkError::io(state)),
    }
}

fn valid(name: &str) -> Result<(), NetworkError> {
    let fits = (1..=15).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    fits.then_some(()).ok_or_else(|| NetworkError::InvalidName { name: name.to_owned() })
}
