//! Who a container finds by name on its networks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bld_network::Names;
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

    /// Those that run and share a network with the one that asks, and by which address.
    fn all(&self) -> Vec<(Container, String, Ipv4Addr)> {
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
                        Some((container.clone(), network.clone(), endpoint.ip))
                    })
                    .collect();
                shared
            })
            .collect()
    }
}

impl Names for Neighbours {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let answers = |(container, network, _): &(Container, String, Ipv4Addr)| {
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
        };
        let found: Vec<_> = self.all().into_iter().filter(answers).map(|(_, _, ip)| ip).collect();
        (!found.is_empty()).then_some(found)
    }

    fn name(&self, address: Ipv4Addr) -> Option<String> {
        let (container, network, _) = self.all().into_iter().find(|(_, _, ip)| *ip == address)?;
        Some(format!("{}.{network}", container.name))
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
