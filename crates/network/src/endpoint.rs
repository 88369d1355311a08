//! The container's end of a network.

use std::{fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

/// What a namespace got from [`Bridge::attach`](crate::Bridge::attach).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address inside the namespace.
    pub ip: Ipv4Addr,
    /// Bits of [`ip`](Self::ip) that name the network.
    pub prefix: u8,
    /// The bridge's own address, which is the default route.
    pub gateway: Ipv4Addr,
    /// Hardware address of the interface inside the namespace.
    pub mac: Mac,
    /// Name of the interface inside the namespace.
    pub interface: String,
    /// Name of the link's other end, which is a port of the bridge on the host.
    pub host_link: String,
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that goes with an IPv4 address: the same address always
    /// answers with the same hardware address, so neighbours' caches stay right when it is reused.
    pub(crate) fn for_ip(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if n == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}
