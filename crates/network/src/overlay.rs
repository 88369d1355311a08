//! Bridges of several hosts that are one, over VXLAN (RFC 7348), between hosts that know each other.

use std::net::{Ipv4Addr, UdpSocket};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::{NetworkError, link, netlink::Socket};

/// Bytes that a packet becomes longer by on its way between hosts.
pub(crate) const OVERHEAD: u32 = 50;

/// That of RFC 7348.
pub const USUAL_PORT: u16 = 4789;

/// What joins a bridge to those of other hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Name of the link, which is a port of the bridge.
    pub link: String,
    /// The number of the network, the same on all hosts; 24 bits.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The hosts. This one may be among them.
    pub peers: Vec<Ipv4Addr>,
}

impl Overlay {
    /// Makes the link, unless it is there.
    pub(crate) fn set_up(
        &self,
        socket: &Socket,
        bridge: u32,
        mtu: u32,
    ) -> Result<(), NetworkError> {
        let failed = |operation| NetworkError::netlink(operation, &self.link);
        if let Some(found) = link::by_name(socket, &self.link).map_err(failed("look up"))? {
            if found.up {
                return Ok(());
            }
            // Somebody was killed before it was complete.
            link::delete(socket, &self.link).map_err(failed("delete"))?;
        }
        link::add_vxlan(socket, &self.link, self.vni, self.port, bridge, mtu)
            .map_err(failed("create"))?;
        let found = link::by_name(socket, &self.link).map_err(failed("look up"))?;
        let index = found.ok_or(Errno::ENODEV).map_err(failed("look up"))?.index;
        for peer in self.others() {
            link::add_peer(socket, index, peer).map_err(failed("add a host to"))?;
        }
        link::set_up(socket, index).map_err(failed("bring up"))
    }

    /// The other hosts. What was sent to this one would come back, and go round.
    fn others(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.peers.iter().copied().filter(|peer| !is_here(*peer))
    }

    /// A chain that lets nobody else in: who sends packets to the port is not asked who he is.
    pub(crate) fn chain(&self) -> String {
        let peers: Vec<String> = self.peers.iter().map(Ipv4Addr::to_string).collect();
        let peers = peers.join(", ");
        // The number is behind the headers of UDP (8 bytes) and of its own flags (4 bytes).
        format!(
            "  chain input {{
    type filter hook input priority 0; policy accept;
    udp dport {} @th,96,24 {} ip saddr != {{ {peers} }} drop
  }}
",
            self.port, self.vni
        )
    }
}

/// Whether an address is this host's: then it is also the one from which it is reached.
fn is_here(address: Ipv4Addr) -> bool {
    let from = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((address, USUAL_PORT))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_none_of_the_others() {
        let there = Ipv4Addr::new(192, 0, 2, 7);
        let overlay = Overlay {
            link: "bldx1".to_owned(),
            vni: 5,
            port: 4789,
            peers: vec![Ipv4Addr::LOCALHOST, there],
        };
        assert_eq!(overlay.others().collect::<Vec<_>>(), [there]);
        assert!(overlay.chain().contains("@th,96,24 5 ip saddr != { 127.0.0.1, 192.0.2.7 } drop"));
    }
}
