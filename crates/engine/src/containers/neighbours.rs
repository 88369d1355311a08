//! Who a container finds by name on its networks.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use bld_network::{Endpoint, Names, Span, Subnet};
use bld_store::Store;

use super::model::Container;
use super::{decode, network};

/// What the resolver of a container asks, anew for each question: neighbours come and go.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) store: Store,
    /// The container that asks.
    pub(super) id: String,
}

impl Neighbours {
    fn own(&self) -> Option<Container> {
        decode(self.store.container(&self.id).ok()??).ok()
    }

    /// Those that run and share a network with the one that asks, and their place on it.
    fn all(&self) -> Vec<(Container, String, Endpoint)> {
        let Some(own) = self.own() else { return Vec::new() };
        let networks = own.networks.keys().filter(|name| *name != crate::networks::DEFAULT);
        let networks: Vec<_> = networks.cloned().collect();
        let stored = self.store.containers().unwrap_or_default();
        let running = stored.into_iter().filter_map(|stored| decode(stored).ok()).filter(|c| {
            c.state.is_running() && c.state.holder.is_some_and(super::ProcessId::is_alive)
        });
        running
            .flat_map(|container| {
                let shared: Vec<_> = networks
                    .iter()
                    .filter_map(|network| {
                        let endpoint = container.networks.get(network)?.endpoint.as_ref()?;
                        Some((container.clone(), network.clone(), endpoint.clone()))
                    })
                    .collect();
                shared
            })
            .collect()
    }
}

/// The addresses of a place on a network.
fn both(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> + use<> {
    let second = endpoint.v6.map(|v6| v6.ip.into());
    [Some(endpoint.ip.into()), second].into_iter().flatten()
}

/// Whether a container is called that on a network.
fn answers(container: &Container, network: &str, name: &str) -> bool {
    let is = |own: &str| {
        name.eq_ignore_ascii_case(own)
            || name
                .strip_prefix(&own.to_lowercase())
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest.eq_ignore_ascii_case(network))
    };
    let aliases = container.networks.get(network).map(|own| own.aliases.as_slice());
    is(&container.name)
        || is(&container.short_id())
        || aliases.unwrap_or_default().iter().any(|alias| is(alias))
}

impl Names for Neighbours {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let found = self.all().into_iter();
        let found = found.filter(|(container, network, _)| answers(container, network, name));
        let found: Vec<_> = found.flat_map(|(_, _, endpoint)| both(&endpoint)).collect();
        (!found.is_empty()).then_some(found)
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        let has = |(_, _, endpoint): &(Container, String, Endpoint)| {
            both(endpoint).any(|own| own == address)
        };
        let (container, network, _) = self.all().into_iter().find(has)?;
        Some(format!("{}.{network}", container.name))
    }

    fn spans(&self) -> Vec<Span> {
        let Some(own) = self.own() else { return Vec::new() };
        let wide = own.networks.values().filter(|place| place.wide);
        let endpoints = wide.filter_map(|place| place.endpoint.as_ref());
        let span = |endpoint: &Endpoint| {
            let everybody = Subnet::new(endpoint.ip, endpoint.prefix).broadcast();
            Span { own: endpoint.ip, everybody }
        };
        endpoints.map(span).collect()
    }

    fn own_addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let own = self.own()?;
        let wide = own.networks.iter().filter(|(_, place)| place.wide);
        let called = wide.filter(|(network, _)| answers(&own, network, name));
        let endpoints = called.filter_map(|(_, place)| place.endpoint.as_ref());
        let found: Vec<_> = endpoints.flat_map(both).collect();
        (!found.is_empty()).then_some(found)
    }

    fn is_network(&self, name: &str) -> bool {
        let is = |own: &String| own.eq_ignore_ascii_case(name);
        self.own().is_some_and(|container| container.networks.keys().any(is))
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let Some(own) = self.own() else { return Vec::new() };
        // Who has no way out is not helped out by the host.
        if own.networks.values().all(|attachment| attachment.internal) {
            return Vec::new();
        }
        let servers = |words: Vec<String>| -> Vec<SocketAddr> {
            let addresses = words.iter().filter_map(|word| word.parse::<IpAddr>().ok());
            addresses.map(|ip| SocketAddr::new(ip, 53)).collect()
        };
        if !own.host.dns.is_empty() {
            return servers(own.host.dns);
        }
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        servers(network::keyword(&host, "nameserver"))
    }
}
