//! A container's networks: its places on bridges, its ports on the host, and the files by which it
//! finds names.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bld_network::{
    Endpoint, Forwarding, Plug, PortWish, Ports, Protocol, RESOLVER, Resolver, Target, hosts_file,
    new_netns, resolv_conf, with_gateway,
};
use bld_sandbox::Network as Mode;
use rustix::fs::{Mode as FileMode, OFlags, ResolveFlags, open, openat2};

use super::attach::{Message, Socket};
use super::model::{Attachment, Container, HostConfig, NetworkMode};
use super::neighbours::Neighbours;
use crate::error::IoContext as _;
use crate::networks::{DEFAULT, Driver, Network};
use crate::{Engine, EngineError, Result};

/// The servers behind the host's local resolver, where systemd-resolved runs.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// A network that is ready for a container.
pub(super) struct Prepared {
    pub(super) network: Mode,
    pub(super) hosts: Vec<u8>,
    pub(super) resolv_conf: Vec<u8>,
    pub(super) service: Service,
}

/// What the holder of a container does for its network, until dropped.
#[derive(Default)]
pub(super) struct Service {
    resolver: Option<Resolver>,
    forwarding: Option<Forwarding>,
}

impl Container {
    /// Its network namespace, if it runs and has one of its own.
    pub(crate) fn netns(&self) -> Result<Option<OwnedFd>> {
        let Some(process) = self.state.process.filter(|_| self.state.is_running()) else {
            return Ok(None);
        };
        let path = format!("/proc/{}/ns/net", process.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = open(&path, flags, FileMode::empty()).at("open", &path)?;
        // The number may have been given away before it was opened.
        Ok(process.is_alive().then_some(namespace))
    }

    /// Whether it is on a network that somebody made, where it finds others by name.
    fn finds_names(&self) -> bool {
        self.networks.keys().any(|name| name != DEFAULT)
    }

    /// Whether it is on a network that spans machines.
    fn spans(&self) -> bool {
        self.networks.values().any(|place| place.wide)
    }

    /// The endpoint by which it is reached from the host: on its first network that leads out.
    pub(crate) fn main_endpoint(&self) -> Option<&Endpoint> {
        let first = self.host.network.name();
        let mut all: Vec<_> = self.networks.iter().filter(|(_, place)| !place.internal).collect();
        all.sort_by_key(|(name, _)| **name != first);
        all.into_iter().find_map(|(_, place)| place.endpoint.as_ref())
    }
}

impl Engine {
    /// Makes the network of a container that is about to start, and enters its places and ports.
    pub(super) fn prepare_network(&self, container: &mut Container) -> Result<Prepared> {
        container.ports = Vec::new();
        let mut service = Service::default();
        let network = match &container.host.network {
            NetworkMode::Host => Mode::Host,
            NetworkMode::None => Mode::None,
            NetworkMode::Container(other) => return self.join(container, &other.clone()),
            NetworkMode::Bridge | NetworkMode::Named(_) => {
                let netns = new_netns()?;
                self.plug_all(container, netns.as_fd())?;
                if container.finds_names() {
                    service.resolver = Some(self.start_resolver(container, netns.as_fd())?);
                }
                let ports = take_ports(container)?;
                container.ports = ports.published();
                if let Some(target) = container.main_endpoint().map(target) {
                    service.forwarding = Some(ports.lead_to(target, &self.config().run_dir));
                }
                Mode::Namespace(netns)
            }
        };
        let links = self.links(container)?;
        Ok(Prepared {
            network,
            hosts: hosts(container, &links),
            resolv_conf: resolver_file(container),
            service,
        })
    }

    /// Takes part in the network of another container.
    fn join(&self, container: &Container, other: &str) -> Result<Prepared> {
        let other = self.find_container(other)?;
        let stopped = || EngineError::JoinStopped { what: "network", container: other.id.clone() };
        let netns = other.netns()?.ok_or_else(stopped)?;
        let root = other.state.process.map(|process| format!("/proc/{}/root", process.pid));
        let root = root.ok_or_else(stopped)?;
        let file = |name: &str| -> Vec<u8> {
            let file = within(&root, name, OFlags::RDONLY);
            file.ok().and_then(|file| std::io::read_to_string(file).ok()).unwrap_or_default().into()
        };
        Ok(Prepared {
            network: Mode::Namespace(netns),
            hosts: file("etc/hosts"),
            resolv_conf: overruled(file("etc/resolv.conf"), &container.host),
            service: Service::default(),
        })
    }

    /// Gives a container its place on each of its networks.
    fn plug_all(&self, container: &mut Container, netns: BorrowedFd<'_>) -> Result<()> {
        let first = container.host.network.name();
        let mut names: Vec<String> = container.networks.keys().cloned().collect();
        names.sort_by_key(|name| *name != first);
        let mut places = std::mem::take(&mut container.networks);
        for place in places.values_mut() {
            place.endpoint = None;
        }
        let mut plugged: BTreeMap<String, Attachment> = BTreeMap::new();
        for name in names {
            let network = self.network(&name)?;
            let Some(mut place) = places.remove(&name) else { continue };
            place.internal = network.internal;
            place.wide = network.driver == Driver::Overlay;
            let others: Vec<_> = plugged.values().collect();
            place.endpoint = Some(self.plug(&network, &container.id, &place, &others, netns)?);
            plugged.insert(name, place);
        }
        container.networks = plugged;
        Ok(())
    }

    /// Gives the container `id`, which has its `others` already, a place on a network.
    pub(crate) fn plug(
        &self,
        network: &Network,
        id: &str,
        wish: &Attachment,
        others: &[&Attachment],
        netns: BorrowedFd<'_>,
    ) -> Result<Endpoint> {
        let bridge = self.bridge(network)?;
        let taken: Vec<_> = network.auxiliary.values().copied().collect();
        let is_used = |name: &str| {
            others.iter().filter_map(|o| o.endpoint.as_ref()).any(|own| own.interface == name)
        };
        let interface = (0..=others.len()).map(|n| format!("eth{n}")).find(|name| !is_used(name));
        let leads_out = |other: &&&Attachment| !other.internal && other.endpoint.is_some();
        let plug = Plug {
            id,
            ip: wish.ip,
            ip6: wish.ip6,
            mac: wish.mac,
            taken: &taken,
            range: network.ip_range,
            interface: interface.as_deref().unwrap_or("eth0"),
            default_route: !network.internal && !others.iter().any(|other| leads_out(&other)),
        };
        Ok(bridge.plug_in(netns, &plug)?)
    }

    fn start_resolver(&self, container: &Container, netns: BorrowedFd<'_>) -> Result<Resolver> {
        let names = Neighbours { store: self.store()?.clone(), id: container.id.clone() };
        Ok(Resolver::start(netns, Arc::new(names), container.spans())?)
    }

    /// Names and addresses of the containers that are linked to.
    fn links(&self, container: &Container) -> Result<Vec<(String, String)>> {
        let mut hosts = Vec::new();
        for (name, alias) in &container.host.links {
            let other = self.find_container(name)?;
            let shared = container
                .networks
                .keys()
                .find_map(|network| other.networks.get(network)?.endpoint.as_ref());
            let Some(endpoint) = shared.filter(|_| other.state.is_running()) else {
                return Err(EngineError::LinkStopped {
                    container: other.name,
                    alias: alias.clone(),
                });
            };
            let names = format!("{alias} {} {}", other.short_id(), other.name);
            let v6 = endpoint.v6.map(|v6| (names.clone(), v6.ip.to_string()));
            hosts.push((names, endpoint.ip.to_string()));
            hosts.extend(v6);
        }
        Ok(hosts)
    }

    /// Tells the holder of a container that its networks have changed.
    pub(crate) fn refresh(&self, container: &Container) -> Result<()> {
        if container.state.process.is_some()
            && let Ok(socket) = Socket::connect(&self.container_dir(&container.id)?)
        {
            // A holder that has gone needs to know nothing.
            let _gone = socket.send(&Message::Refresh, &[]);
            let _heard = socket.receive(true);
        }
        Ok(())
    }

    /// Does what a change of a running container's networks asks of its holder.
    pub(super) fn refreshed(&self, id: &str, service: &mut Service) -> Result<()> {
        let container = self.find_container(id)?;
        let (Some(netns), Some(process)) = (container.netns()?, container.state.process) else {
            return Ok(());
        };
        let fits = |resolver: &Resolver| resolver.spans() == container.spans();
        if container.finds_names() && !service.resolver.as_ref().is_some_and(fits) {
            // Two can't listen to other machines at the same time.
            service.resolver = None;
            service.resolver = Some(self.start_resolver(&container, netns.as_fd())?);
        }
        if let Some(forwarding) = &mut service.forwarding {
            forwarding.redirect(container.main_endpoint().map(target));
        }
        let root = format!("/proc/{}/root", process.pid);
        let files = [
            ("etc/resolv.conf", resolver_file(&container)),
            ("etc/hosts", hosts(&container, &self.links(&container).unwrap_or_default())),
        ];
        for (name, contents) in files {
            // One that the container has taken away is not forced upon it.
            if let Ok(mut file) = within(&root, name, OFlags::WRONLY | OFlags::TRUNC) {
                file.write_all(&contents).at("write", name)?;
            }
        }
        Ok(())
    }
}

/// The addresses that ports lead to.
fn target(endpoint: &Endpoint) -> Target {
    Target { v4: endpoint.ip, v6: endpoint.v6.map(|v6| v6.ip) }
}

/// Takes the ports of the host that lead to the container.
fn take_ports(container: &Container) -> Result<Ports> {
    if container.main_endpoint().is_none() {
        return Ok(Ports::take(&[])?);
    }
    let mut wishes = container.host.ports.clone();
    if container.host.publish_all {
        for exposed in &container.config.exposed_ports {
            let Some((port, protocol)) = exposed_port(exposed) else { continue };
            let known = |wish: &PortWish| wish.port == port && wish.protocol == protocol;
            if !wishes.iter().any(known) {
                wishes.push(PortWish { port, protocol, host_ip: None, host_ports: None });
            }
        }
    }
    Ports::take(&wishes)
        .map_err(|source| EngineError::Publish { container: container.name.clone(), source })
}

/// A file of a container, whose links lead nowhere else.
fn within(root: &str, name: &str, flags: OFlags) -> rustix::io::Result<fs::File> {
    let root = open(root, OFlags::PATH | OFlags::CLOEXEC, FileMode::empty())?;
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(&root, name, flags, FileMode::empty(), resolve)?.into())
}

/// The number and protocol of a port as images expose it: `80/tcp`.
pub(super) fn exposed_port(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

/// The `/etc/hosts` of a container.
fn hosts(container: &Container, links: &[(String, String)]) -> Vec<u8> {
    let host = &container.host;
    if host.network == NetworkMode::Host && host.extra_hosts.is_empty() {
        return fs::read("/etc/hosts").unwrap_or_default();
    }
    let main = container.main_endpoint();
    let gateway = main.map_or(Ipv4Addr::LOCALHOST, |endpoint| endpoint.gateway);
    let mut extra = with_gateway(&host.extra_hosts, gateway);
    extra.extend(links.iter().cloned());
    let endpoints = container.networks.values().filter_map(|place| place.endpoint.as_ref());
    let mut text = hosts_file(&host.hostname, None, &extra);
    for endpoint in endpoints {
        text.extend(format!("{}\t{}\n", endpoint.ip, host.hostname).into_bytes());
        if let Some(v6) = endpoint.v6 {
            text.extend(format!("{}\t{}\n", v6.ip, host.hostname).into_bytes());
        }
    }
    text
}

/// The `/etc/resolv.conf` of a container.
fn resolver_file(container: &Container) -> Vec<u8> {
    let host = fs::read("/etc/resolv.conf").unwrap_or_default();
    if container.host.network == NetworkMode::Host {
        return overruled(host, &container.host);
    }
    if !container.finds_names() {
        let reachable = resolv_conf(&host, fs::read(UPSTREAM).ok().as_deref());
        return overruled(reachable, &container.host);
    }
    // The servers are the resolver's business; all else is said to the program.
    let said = HostConfig { dns: vec![RESOLVER.to_string()], ..container.host.clone() };
    let mut text = overruled(host, &said);
    if !String::from_utf8_lossy(&text).contains("ndots:") {
        text.extend(b"options ndots:0\n");
    }
    text
}

/// What follows a keyword in a resolver's file, the first word of each line.
pub(super) fn keyword(text: &str, keyword: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|word| *word == keyword)?;
            words.next().map(str::to_owned)
        })
        .collect()
}

/// `--dns` and its likes take the place of what the host says.
fn overruled(host: Vec<u8>, config: &HostConfig) -> Vec<u8> {
    if config.dns.is_empty() && config.dns_search.is_empty() && config.dns_options.is_empty() {
        return host;
    }
    let text = String::from_utf8_lossy(&host).into_owned();
    let kept = |keyword: &str| {
        let lines = text.lines().filter(|line| line.split_whitespace().next() == Some(keyword));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut lines = match config.dns_search.as_slice() {
        [] => kept("search"),
        // A lone dot means that there is to be no search domain.
        [dot] if dot == "." => Vec::new(),
        domains => vec![format!("search {}", domains.join(" "))],
    };
    match config.dns.as_slice() {
        [] => lines.extend(kept("nameserver")),
        servers => lines.extend(servers.iter().map(|server| format!("nameserver {server}"))),
    }
    match config.dns_options.as_slice() {
        [] => lines.extend(kept("options")),
        options => lines.push(format!("options {}", options.join(" "))),
    }
    (lines.join("\n") + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_overrule_the_hosts_resolver_line_by_line() {
        let host = b"search lan\nnameserver 192.0.2.1\noptions edns0\n".to_vec();
        let config = HostConfig {
            dns: vec!["10.9.8.7".into()],
            dns_search: vec!["example.com".into()],
            ..HostConfig::default()
        };
        let text = String::from_utf8_lossy(&overruled(host.clone(), &config)).into_owned();
        assert_eq!(text, "search example.com\nnameserver 10.9.8.7\noptions edns0\n");
        assert_eq!(overruled(host.clone(), &HostConfig::default()), host);
    }
}
