//! The ports of a container as lists show them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bld_engine::containers::{Container, Published};

/// A host's address and port; IPv6 ones in brackets.
pub(crate) fn address(ip: IpAddr, port: impl std::fmt::Display) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// `80/tcp`
pub(crate) fn port(published: &Published) -> String {
    format!("{}/{}", published.port, published.protocol)
}

/// The ports a container exposes, each with those of the host that lead to it.
pub(crate) fn by_port(container: &Container) -> BTreeMap<String, Vec<Published>> {
    let mut ports: BTreeMap<String, Vec<Published>> = BTreeMap::new();
    for exposed in &container.config.exposed_ports {
        ports.insert(exposed.clone(), Vec::new());
    }
    for published in &container.ports {
        ports.entry(port(published)).or_default().push(*published);
    }
    ports
}

/// The column `PORTS`: ranges of ports that lead to the same number are drawn together, as docker
/// does.
pub(crate) fn column(container: &Container) -> String {
    if !container.state.is_running() || !container.host.network.is_bridged() {
        return String::new();
    }
    // By address and protocol; those that are only exposed have no address.
    let mut runs: BTreeMap<(Option<IpAddr>, String), Vec<u16>> = BTreeMap::new();
    let mut other = Vec::new();
    let mut all = container.ports.clone();
    all.sort_by_key(|published| (published.port, published.host));
    for published in &all {
        let (ip, protocol) = (published.host.ip(), published.protocol.to_string());
        if published.host.port() == published.port {
            runs.entry((Some(ip), protocol)).or_default().push(published.port);
        } else {
            let host = address(ip, published.host.port());
            other.push(format!("{host}->{}", port(published)));
        }
    }
    for (name, published) in by_port(container) {
        let (number, protocol) = name.split_once('/').unwrap_or((&name, "tcp"));
        if let (true, Ok(number)) = (published.is_empty(), number.parse()) {
            runs.entry((None, protocol.to_owned())).or_default().push(number);
        }
    }
    let mut words = Vec::new();
    for ((ip, protocol), mut numbers) in runs {
        numbers.sort_unstable();
        for (first, last) in consecutive(&numbers) {
            let run = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let run = match ip {
                Some(ip) => format!("{}->{run}", address(ip, &run)),
                None => run,
            };
            words.push(format!("{run}/{protocol}"));
        }
    }
    words.extend(other);
    words.join(", ")
}

/// First and last of each run of numbers that follow one another.
fn consecutive(numbers: &[u16]) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_are_one_run() {
        assert_eq!(consecutive(&[80, 81, 82, 90, u16::MAX]), [(80, 82), (90, 90), (65535, 65535)]);
    }
}
