//! The container's end of a network.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

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
    /// The IPv6 side of it, on a bridge that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Endpoint6>,
}

/// What a namespace got of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint6 {
    /// The address inside the namespace. Its number within the network is that of the IPv4 address.
    pub ip: Ipv6Addr,
    /// Bits of [`ip`](Self::ip) that name the network.
    pub prefix: u8,
    /// The bridge's own address, which is the default route.
    pub gateway: Ipv6Addr,
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

/// The text is not the address of one machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid mac address: {text}")]
pub struct MacParseError {
    /// The text as given.
    pub text: String,
}

impl FromStr for Mac {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || MacParseError { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        // An odd first byte stands for several.
        let single = parts.next().is_none() && bytes[0] % 2 == 0 && bytes != [0; 6];
        single.then_some(Self(bytes)).ok_or_else(invalid)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_and_printed() {
        let text = "02:42:ac:11:00:0b";
        assert_eq!(text.parse::<Mac>().map(|mac| mac.to_string()).as_deref(), Ok(text));
        assert!("02-42-AC-11-00-0B".parse::<Mac>().is_ok());
        for wrong in ["", "02:42", "01:00:5e:00:00:01", "02:42:ac:11:00:0b:0c", "2:42:ac:11:0:b"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
