//! A container's network: its place on the bridge and the files by which it finds names.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};

use bld_network::{Bridge, Endpoint, hosts_file, new_netns, resolv_conf, with_gateway};
use bld_sandbox::Network;

use super::model::{Container, HostConfig, NetworkMode};
use crate::error::IoContext as _;
use crate::{Engine, Result};

/// The servers behind the host's local resolver, where systemd-resolved runs.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// A network that is ready for a container.
pub(super) struct Prepared {
    pub(super) network: Network,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) hosts: Vec<u8>,
    pub(super) resolv_conf: Vec<u8>,
}

impl Engine {
    /// Makes the network of a container that is about to start.
    pub(super) fn prepare_network(&self, container: &Container) -> Result<Prepared> {
        let host = &container.host;
        let (network, endpoint) = match host.network {
            NetworkMode::Host => (Network::Host, None),
            NetworkMode::None => (Network::None, None),
            NetworkMode::Bridge => {
                let (netns, endpoint) = self.attach(&container.id)?;
                (Network::Namespace(netns), Some(endpoint))
            }
        };
        let own_resolver = host.network == NetworkMode::Host;
        let hosts = if own_resolver && host.extra_hosts.is_empty() {
            fs::read("/etc/hosts").unwrap_or_default()
        } else {
            let ip = endpoint.as_ref().map(|endpoint| endpoint.ip);
            let gateway =
                endpoint.as_ref().map_or(Ipv4Addr::LOCALHOST, |endpoint| endpoint.gateway);
            hosts_file(&host.hostname, ip, &with_gateway(&host.extra_hosts, gateway))
        };
        let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
        let resolv = if own_resolver {
            resolv
        } else {
            resolv_conf(&resolv, fs::read(UPSTREAM).ok().as_deref())
        };
        Ok(Prepared { network, endpoint, hosts, resolv_conf: overruled(resolv, host) })
    }

    fn attach(&self, id: &str) -> Result<(OwnedFd, Endpoint)> {
        let config = self.config();
        fs::create_dir_all(&config.run_dir).at("create", &config.run_dir)?;
        let bridge = Bridge::ensure(&config.bridge, &config.run_dir)?;
        let netns = new_netns()?;
        let endpoint = bridge.attach(netns.as_fd(), id)?;
        Ok((netns, endpoint))
    }
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
