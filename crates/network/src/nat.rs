//! Ports that the kernel leads to a container, so that the container sees who connects.
//!
//! Each container's are in tables of its own, which belong to a socket of the process that holds it: the
//! kernel takes them away with the socket, however the process ends. What is for loopback can't be led
//! that way, nor what containers send to the host; that goes by [`forward`](crate::forward), whose
//! sockets also see to it that nobody else has the ports.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::errno::Errno;

use crate::{
    Protocol, Published,
    netlink::Socket,
    nftables::{Batch, Family, Hook, Step, denies_by_default},
};

/// What the names of all our bridges begin with.
const OUR_BRIDGES: &str = "bld";

/// The addresses of a container that ports lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub v6: Option<Ipv6Addr>,
}

/// Rules that lead ports to a container, until dropped.
#[derive(Debug)]
pub(crate) struct Translation {
    _owner: Socket,
}

impl Translation {
    /// Puts rules in place for those of `ports` that the kernel can lead to `target`; none are needed
    /// when there are no such. Where somebody's firewall denies what comes in by default, it goes on
    /// deciding about ports, and there are none either: what is led by the kernel would not pass it.
    ///
    /// # Errors
    /// The kernel has no such tables (before Linux 5.12), or refuses.
    pub(crate) fn start(target: Target, ports: &[Published]) -> Result<Option<Self>, Errno> {
        let mut batch = Batch::default();
        let socket = Socket::netfilter()?;
        let mut needed = false;
        for family in [Family::Ip, Family::Ip6] {
            let to = match family {
                Family::Ip => Some(target.v4.into()),
                Family::Ip6 => target.v6.map(IpAddr::from),
            };
            let Some(to) = to else { continue };
            let mine = |port: &&Published| {
                Family::of(port.host.ip()) == family && !port.host.ip().is_loopback()
            };
            let mine: Vec<_> = ports.iter().filter(mine).collect();
            if !mine.is_empty() && !denies_by_default(&socket, family)? {
                fill(&mut batch, family, to, &mine);
                needed = true;
            }
        }
        if !needed {
            return Ok(None);
        }
        batch.send(&socket)?;
        Ok(Some(Self { _owner: socket }))
    }
}

/// The table that leads `ports` to `to`.
fn fill(batch: &mut Batch, family: Family, to: IpAddr, ports: &[&Published]) {
    let table = &format!("bld-ports-{}-{}", std::process::id(), number(to));
    batch.table(family, table);
    batch.chain(family, table, Hook::Incoming);
    batch.chain(family, table, Hook::Outgoing);
    // Ports by the address of the host and the protocol.
    let mut groups: BTreeMap<(IpAddr, Protocol), Vec<(u16, u16)>> = BTreeMap::new();
    for port in ports {
        let group = groups.entry((port.host.ip(), port.protocol)).or_default();
        group.push((port.host.port(), port.port));
    }
    for (index, ((host, protocol), mut ports)) in groups.into_iter().enumerate() {
        ports.sort_unstable();
        ports.dedup_by_key(|(from, _)| *from);
        let map = &format!("ports{index}");
        batch.ports(family, table, map, &ports);
        let address = if host.is_unspecified() { Step::ToHost } else { Step::To(host) };
        let number = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        let lead = [address, Step::NotToLoopback, Step::Protocol(number), Step::Lead { map, to }];
        // Networks of ours are apart; what one container sends to a port of another goes by its holder.
        let incoming: Vec<_> = [Step::NotFrom(OUR_BRIDGES)].into_iter().chain(lead).collect();
        batch.rule(family, table, Hook::Incoming, &incoming);
        batch.rule(family, table, Hook::Outgoing, &lead);
    }
}

fn number(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:08x}", u32::from(ip)),
        IpAddr::V6(ip) => format!("{:032x}", u128::from(ip)),
    }
}
