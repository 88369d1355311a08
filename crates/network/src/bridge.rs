//! A bridge on the host that containers are plugged into.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::{
    Endpoint, Endpoint6, Mac, NetworkError, Overlay, Subnet, Subnet6,
    firewall::{self, Rules},
    home::{self, at_home},
    link::{self, Cable},
    netlink::Socket,
    netns,
    nftables::generation,
    overlay::OVERHEAD,
};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the first interface inside a namespace.
const INTERFACE: &str = "eth0";

/// The note on the firewall, and the lock on all notes, in the directory of notes.
const FIREWALL: &str = "firewall.json";
const LOCK: &str = "network.lock";

/// How a bridge is to be.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Name of the bridge's link on the host, 1 to 15 letters, digits, `-` or `_`.
    pub name: String,
    /// Addresses to give out. `None` takes those the bridge has already, else the first of
    /// 10.88.0.0/16 to 10.127.0.0/16 that overlaps none of the host's routes.
    pub subnet: Option<Subnet>,
    /// The address of the bridge itself; the first of the subnet when absent.
    pub gateway: Option<Ipv4Addr>,
    /// Name of the firewall table (`nft list table ip NAME`), one for each bridge.
    pub table: String,
    /// Nothing gets out of it or in but by the host itself.
    pub internal: bool,
    /// Networks that are no choice when no subnet is given.
    pub avoid: Vec<Subnet>,
    /// Bytes of the longest packet; what the host's default route takes when absent.
    pub mtu: Option<u32>,
    /// Its IPv6 addresses; it has none when absent.
    pub v6: Option<Range6>,
    /// What joins it to bridges of other hosts; nothing when absent.
    pub overlay: Option<Overlay>,
}

/// The IPv6 addresses of a bridge. Unless a container asks for a certain one, its has the number that its
/// IPv4 address has, so there must be as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range6 {
    /// The addresses to give out.
    pub subnet: Subnet6,
    /// The address of the bridge itself.
    pub gateway: Ipv6Addr,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: "bld0".to_owned(),
            subnet: None,
            gateway: None,
            table: "bld".to_owned(),
            internal: false,
            avoid: Vec::new(),
            mtu: None,
            v6: None,
            overlay: None,
        }
    }
}

/// A bridge that is up, has its address, and whose packets the host forwards and translates.
#[derive(Clone, Debug)]
pub struct Bridge {
    name: String,
    table: String,
    index: u32,
    subnet: Subnet,
    gateway: Ipv4Addr,
    internal: bool,
    mtu: u32,
    v6: Option<Range6>,
    overlay: Option<Overlay>,
    state: PathBuf,
}

/// What a namespace is to get on a bridge.
#[derive(Clone, Copy, Debug)]
pub struct Plug<'a> {
    /// Who it is for: while its address is free, the same one gets the same address again.
    pub id: &'a str,
    /// The address, if it has to be a certain one.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address, if it has to be a certain one.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address; one that goes with the IPv4 address when absent.
    pub mac: Option<Mac>,
    /// Where addresses are taken from; the whole subnet when absent.
    pub range: Option<Subnet>,
    /// Addresses that are not given out: somebody else has them.
    pub taken: &'a [Ipv4Addr],
    /// Name of the interface, such as `eth0`.
    pub interface: &'a str,
    /// Whether what has no nearer route goes this way.
    pub default_route: bool,
}

/// What was true when the bridge was last set up; believed as long as boot, link and firewall agree.
#[derive(Serialize, Deserialize)]
struct State {
    boot_id: String,
    index: u32,
    subnet: Subnet,
    gateway: Ipv4Addr,
    internal: bool,
    mtu: u32,
    table: String,
    #[serde(default)]
    v6: Option<Range6>,
    #[serde(default)]
    overlay: Option<Overlay>,
}

/// At this generation of the firewall the rules of all bridges with a note were in place.
#[derive(Serialize, Deserialize)]
struct Known {
    generation: u32,
}

impl Bridge {
    /// Makes sure that the bridge exists and works, and leaves alone what is in place already.
    ///
    /// `state_dir` is made when missing; it holds a note by which later calls know that nothing
    /// changed, and a lock so that simultaneous calls set up once. Losing it costs time only. The
    /// host's IPv4 forwarding is turned on.
    pub fn ensure(config: &BridgeConfig, state_dir: &Path) -> Result<Self, NetworkError> {
        if !config.internal {
            home::connect()?;
        }
        at_home(|| Self::ensure_here(config, state_dir))
    }

    fn ensure_here(config: &BridgeConfig, state_dir: &Path) -> Result<Self, NetworkError> {
        valid(&config.name)?;
        valid(&config.table)?;
        let socket =
            Socket::route().map_err(NetworkError::netlink("open a socket for", &config.name))?;
        let state = state_dir.join(format!("{}.json", config.name));
        if let Some(bridge) = Self::recall(config, &socket, &state)? {
            return Ok(bridge);
        }

        fs::create_dir_all(state_dir).map_err(NetworkError::io(state_dir))?;
        let lock = state_dir.join(LOCK);
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
        if bridge.v6.is_some() {
            netns::forward_ipv6()?;
        }
        let applied = bridge.rules().apply()?;
        // Where nobody else changed anything since, the rules of the other bridges are in place.
        if applied.map(|applied| applied.before) != known(state_dir) {
            forget_others(state_dir, &bridge.state)?;
        }
        match applied {
            Some(applied) => {
                write(&state_dir.join(FIREWALL), &Known { generation: applied.after })?;
                bridge.remember()?;
            }
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
            && config.internal == state.internal
            && config.v6 == state.v6
            && config.overlay == state.overlay
            && config.subnet.is_none_or(|subnet| subnet == state.subnet)
            && config.gateway.is_none_or(|gateway| gateway == state.gateway)
            && boot_id()? == state.boot_id
            && fs::read(IP_FORWARD).is_ok_and(|text| text.first() == Some(&b'1'))
            && (config.v6.is_none() || netns::forwards_ipv6()?)
            && path.parent().and_then(known) == generation().ok();
        if !wanted {
            return Ok(None);
        }
        let look = |name: &str| {
            link::by_name(socket, name).map_err(NetworkError::netlink("look up", name))
        };
        if let Some(overlay) = &config.overlay
            && look(&overlay.link)?.is_none_or(|link| !link.up)
        {
            return Ok(None);
        }
        let found = look(&config.name)?;
        Ok(found.filter(|link| link.index == state.index && link.up).map(|link| Self {
            name: config.name.clone(),
            table: state.table,
            index: link.index,
            subnet: state.subnet,
            gateway: state.gateway,
            internal: state.internal,
            mtu: state.mtu,
            v6: state.v6,
            overlay: state.overlay,
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
                    || free_subnet(&routes, own_index, &config.avoid),
                    |(ip, prefix)| Ok(Subnet::new(*ip, *prefix)),
                )?,
            (None, None) => free_subnet(&routes, own_index, &config.avoid)?,
        };

        let gateway = config.gateway.unwrap_or(subnet.gateway());
        let found = if let Some(link) = existing {
            link
        } else {
            let mtu = match config.mtu {
                Some(mtu) => mtu,
                None => {
                    let mtu = uplink_mtu(socket, &routes).map_err(failed("find the MTU for"))?;
                    mtu - config.overlay.as_ref().map_or(0, |_| OVERHEAD.min(mtu))
                }
            };
            match link::add_bridge(socket, name, Mac::for_ip(gateway), mtu) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(failed("create bridge")(error)),
            }
            look()?.ok_or(Errno::ENODEV).map_err(failed("look up"))?
        };
        if !found.is_bridge {
            return Err(NetworkError::NotABridge { name: name.clone() });
        }
        link::add_address(socket, found.index, gateway, subnet)
            .map_err(failed("give an address to"))?;
        if !found.up {
            link::set_up(socket, found.index).map_err(failed("bring up"))?;
        }
        if let Some(Range6 { subnet, gateway }) = config.v6 {
            netns::allow_ipv6(name)?;
            link::add_address6(socket, found.index, gateway, subnet.prefix())
                .map_err(failed("give an IPv6 address to"))?;
        }
        if let Some(overlay) = &config.overlay {
            overlay.set_up(socket, found.index, found.mtu)?;
        }
        Ok(Self {
            name: name.clone(),
            table: config.table.clone(),
            index: found.index,
            subnet,
            gateway,
            internal: config.internal,
            mtu: found.mtu,
            v6: config.v6,
            overlay: config.overlay.clone(),
            state,
        })
    }

    fn remember(&self) -> Result<(), NetworkError> {
        let state = State {
            boot_id: boot_id()?,
            index: self.index,
            subnet: self.subnet,
            gateway: self.gateway,
            internal: self.internal,
            mtu: self.mtu,
            table: self.table.clone(),
            v6: self.v6,
            overlay: self.overlay.clone(),
        };
        write(&self.state, &state)
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            table: &self.table,
            bridge: &self.name,
            subnet: self.subnet,
            subnet6: self.v6.map(|v6| v6.subnet),
            internal: self.internal,
            overlay: self.overlay.as_ref(),
        }
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
        self.gateway
    }

    /// Gives a namespace the interface `eth0` with an address nobody else has, and a default route.
    ///
    /// `id` names the container: while its address is free, the same `id` gets the same one again.
    /// When the namespace dies, everything this made dies with it.
    pub fn attach(&self, netns: BorrowedFd<'_>, id: &str) -> Result<Endpoint, NetworkError> {
        let default_route = !self.internal;
        self.plug_in(
            netns,
            &Plug {
                id,
                ip: None,
                ip6: None,
                mac: None,
                taken: &[],
                range: None,
                interface: INTERFACE,
                default_route,
            },
        )
    }

    /// As [`attach`](Self::attach), by `plug`.
    ///
    /// # Errors
    /// [`NetworkError::AddressTaken`] and [`NetworkError::AddressElsewhere`] when a certain address
    /// can't be had, [`NetworkError::Full`] when none can.
    pub fn plug_in(
        &self,
        netns: BorrowedFd<'_>,
        plug: &Plug<'_>,
    ) -> Result<Endpoint, NetworkError> {
        at_home(|| self.plug_in_here(netns, plug))
    }

    fn plug_in_here(
        &self,
        netns: BorrowedFd<'_>,
        plug: &Plug<'_>,
    ) -> Result<Endpoint, NetworkError> {
        let socket =
            Socket::route().map_err(NetworkError::netlink("open a socket for", &self.name))?;
        let endpoint = self.connect(&socket, netns, plug)?;
        let configured = netns::inside(netns, || {
            if endpoint.v6.is_some() {
                netns::allow_ipv6(plug.interface)?;
            }
            let configure = || {
                let inner = Socket::route()?;
                let index = link::by_name(&inner, plug.interface)?.ok_or(Errno::ENODEV)?.index;
                link::add_address(&inner, index, endpoint.ip, self.subnet)?;
                link::set_up(&inner, index)?;
                if let Some(v6) = endpoint.v6 {
                    link::add_address6(&inner, index, v6.ip, v6.prefix)?;
                }
                let second = endpoint.v6.map(|v6| v6.gateway.into());
                let gateways = [Some(self.gateway.into()), second];
                for gateway in gateways.into_iter().flatten().filter(|_| plug.default_route) {
                    link::add_default_route(&inner, index, gateway)?;
                }
                Ok(())
            };
            configure().map_err(NetworkError::netlink("configure", plug.interface))
        });
        if let Err(error) = configured {
            // The cause is what counts; should the link stay, the namespace's end removes it.
            let _ = link::delete(&socket, &endpoint.host_link);
            return Err(error);
        }
        Ok(endpoint)
    }

    /// The addresses that `plug` may have, the one it had before first.
    fn candidates(
        &self,
        plug: &Plug<'_>,
    ) -> Result<impl Iterator<Item = Ipv4Addr> + use<>, NetworkError> {
        if let Some(ip) = plug.ip
            && (!self.subnet.contains(ip) || ip == self.gateway)
        {
            let subnet = self.subnet.to_string();
            return Err(NetworkError::AddressElsewhere { ip: ip.into(), subnet });
        }
        if let Some(ip) = plug.ip.filter(|ip| plug.taken.contains(ip)) {
            return Err(NetworkError::AddressTaken { ip: ip.into() });
        }
        let has = |ip: Ipv6Addr| {
            self.v6.is_some_and(|v6| {
                v6.subnet.contains(ip) && ![v6.gateway, v6.subnet.base()].contains(&ip)
            })
        };
        if let Some(ip) = plug.ip6.filter(|ip| !has(*ip)) {
            let subnet = self.v6.map_or_else(|| "no IPv6".to_owned(), |v6| v6.subnet.to_string());
            return Err(NetworkError::AddressElsewhere { ip: ip.into(), subnet });
        }
        if let (Some(ip), Some(v6), None) = (plug.ip, self.v6, plug.ip6)
            && v6.subnet.host(self.subnet.number(ip)) == v6.gateway
        {
            return Err(NetworkError::AddressTaken { ip: v6.gateway.into() });
        }
        let mut hasher = DefaultHasher::new();
        plug.id.hash(&mut hasher);
        let (subnet, gateway) = (self.subnet, self.gateway);
        let pool = plug.range.unwrap_or(subnet);
        let (v6, reserved) = (self.v6, plug.taken.to_vec());
        let free = move |ip: &Ipv4Addr| {
            let taken = |v6: Range6| v6.subnet.host(subnet.number(*ip)) == v6.gateway;
            *ip != gateway
                && *ip != subnet.base()
                && *ip != subnet.broadcast()
                && !reserved.contains(ip)
                && !v6.is_some_and(taken)
        };
        let certain = plug.ip;
        let all = pool.addresses_from(hasher.finish() as u32).filter(free);
        Ok(certain.into_iter().chain(all.filter(move |_| certain.is_none())))
    }

    /// Creates the cable under the name of the first free address.
    fn connect(
        &self,
        socket: &Socket,
        netns: BorrowedFd<'_>,
        plug: &Plug<'_>,
    ) -> Result<Endpoint, NetworkError> {
        let full = || NetworkError::Full { bridge: self.name.clone(), subnet: self.subnet };
        for ip in self.candidates(plug)? {
            let host_link = format!("bldv{:08x}", u32::from(ip));
            let mac = plug.mac.unwrap_or(Mac::for_ip(ip));
            let cable = Cable {
                host_link: &host_link,
                bridge: self.index,
                interface: plug.interface,
                netns,
                mac,
                mtu: self.mtu,
            };
            let v6 = self.v6.map(|v6| Endpoint6 {
                ip: plug.ip6.unwrap_or(v6.subnet.host(self.subnet.number(ip))),
                prefix: v6.subnet.prefix(),
                gateway: v6.gateway,
            });
            match link::add_cable(socket, &cable) {
                Ok(()) => {
                    if let Some(v6) = v6
                        && !self.take6(socket, &host_link, v6.ip)?
                    {
                        // It belongs to somebody who asked for it.
                        match plug.ip6.or_else(|| plug.ip.map(|_| v6.ip)) {
                            Some(ip) => return Err(NetworkError::AddressTaken { ip: ip.into() }),
                            None => continue,
                        }
                    }
                    return Ok(Endpoint {
                        ip,
                        prefix: self.subnet.prefix(),
                        gateway: self.gateway,
                        mac,
                        interface: plug.interface.to_owned(),
                        host_link,
                        v6,
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
                    if plug.ip.is_some() {
                        return Err(NetworkError::AddressTaken { ip: ip.into() });
                    }
                }
            }
        }
        Err(full())
    }

    /// Takes an IPv6 address for a cable, as a further name of it; without one the cable goes. Whether
    /// it could be had.
    fn take6(&self, socket: &Socket, host_link: &str, ip: Ipv6Addr) -> Result<bool, NetworkError> {
        let name = format!("bldv6{:032x}", u128::from(ip));
        let taken = link::by_name(socket, host_link)
            .and_then(|link| link::add_name(socket, link.ok_or(Errno::ENODEV)?.index, &name));
        if taken.is_err() {
            // The cause is what counts; should the link stay, the namespace's end removes it.
            let _ = link::delete(socket, host_link);
        }
        match taken {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(error) => Err(NetworkError::netlink("attach a container to", &self.name)(error)),
        }
    }

    /// Has what has no nearer route leave a namespace by `endpoint`, unless it leaves by another one.
    pub fn lead_out(netns: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<(), NetworkError> {
        netns::inside(netns, || {
            let add = || -> Result<(), Errno> {
                let socket = Socket::route()?;
                let index =
                    link::by_name(&socket, &endpoint.interface)?.ok_or(Errno::ENODEV)?.index;
                let second = endpoint.v6.map(|v6| v6.gateway.into());
                for gateway in [Some(endpoint.gateway.into()), second].into_iter().flatten() {
                    match link::add_default_route(&socket, index, gateway) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            };
            add().map_err(NetworkError::netlink("lead out by", &endpoint.interface))
        })
    }

    /// Takes a namespace's interface away again, at once; fine when it is gone already.
    pub fn detach(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let name = &endpoint.host_link;
        at_home(|| {
            Socket::route()
                .and_then(|socket| link::delete(&socket, name))
                .map(drop)
                .map_err(NetworkError::netlink("delete", name))
        })
    }

    /// Removes the bridge and its firewall rules from the host. Containers still attached lose their
    /// connection. IPv4 forwarding stays on, since others may rely on it by now.
    pub fn teardown(self) -> Result<(), NetworkError> {
        let links = links(&self.name, self.overlay.as_ref());
        at_home(|| remove(&self.state, links, &self.table, self.v6.is_some()))
    }

    /// Removes what there is of a bridge as [`teardown`](Self::teardown) does, without setting up
    /// first what is missing.
    pub fn remove(config: &BridgeConfig, state_dir: &Path) -> Result<(), NetworkError> {
        let state = state_dir.join(format!("{}.json", config.name));
        let links = links(&config.name, config.overlay.as_ref());
        at_home(|| remove(&state, links, &config.table, config.v6.is_some()))
    }
}

/// The bridge, and what joins it to others.
fn links<'a>(name: &'a str, overlay: Option<&'a Overlay>) -> [Option<&'a str>; 2] {
    [Some(name), overlay.map(|overlay| overlay.link.as_str())]
}

fn remove(
    state: &Path,
    links: [Option<&str>; 2],
    table: &str,
    v6: bool,
) -> Result<(), NetworkError> {
    forget(state)?;
    for name in links.into_iter().flatten() {
        Socket::route()
            .and_then(|socket| link::delete(&socket, name))
            .map_err(NetworkError::netlink("delete", name))?;
    }
    let applied = firewall::remove(table, links[0].unwrap_or_default(), v6)?;
    // Only our own rules went: what is known of the others stays true.
    if let (Some(applied), Some(state_dir)) = (applied, state.parent())
        && known(state_dir) == Some(applied.before)
    {
        write(&state_dir.join(FIREWALL), &Known { generation: applied.after })?;
    }
    Ok(())
}

/// Makes a change of the firewall that leaves the rules of bridges alone: what is known of them stays
/// true.
pub(crate) fn beside<T>(
    state_dir: &Path,
    change: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, NetworkError> {
    let lock = state_dir.join(LOCK);
    let _locked = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(NetworkError::io(lock))?;
    let before = generation().ok();
    let changed = change().map_err(NetworkError::netlink("lead ports to", "a container"))?;
    if let (Some(before), Ok(after)) = (before, generation())
        && after == before.wrapping_add(1)
        && known(state_dir) == Some(before)
    {
        write(&state_dir.join(FIREWALL), &Known { generation: after })?;
    }
    Ok(changed)
}

/// The generation of the firewall at which all rules were known to be in place.
fn known(state_dir: &Path) -> Option<u32> {
    let text = fs::read(state_dir.join(FIREWALL)).ok()?;
    Some(serde_json::from_slice::<Known>(&text).ok()?.generation)
}

/// Forgets what is known of all bridges but the one whose note is `own`.
fn forget_others(state_dir: &Path, own: &Path) -> Result<(), NetworkError> {
    for entry in fs::read_dir(state_dir).map_err(NetworkError::io(state_dir))? {
        let path = entry.map_err(NetworkError::io(state_dir))?.path();
        if path.extension().is_some_and(|end| end == "json") && path != own {
            forget(&path)?;
        }
    }
    Ok(())
}

fn write(path: &Path, note: &impl Serialize) -> Result<(), NetworkError> {
    let text = serde_json::to_vec(note).map_err(|error| NetworkError::io(path)(error.into()))?;
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(NetworkError::io(path))
}

/// The first of the default subnets that no route of the host overlaps.
fn free_subnet(
    routes: &[link::Route],
    own_index: u32,
    avoid: &[Subnet],
) -> Result<Subnet, NetworkError> {
    (88..128)
        .map(|second| Subnet::new(Ipv4Addr::new(10, second, 0, 0), 16))
        .filter(|subnet| !avoid.iter().any(|other| other.overlaps(*subnet)))
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
