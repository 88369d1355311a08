//! An IPv4 network in prefix notation.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// An IPv4 network such as `10.88.0.0/16`; the host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

/// The text is not a network in prefix notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse subnet {text:?}: expected something like 10.88.0.0/16 or fd00:1::/64")]
pub struct SubnetParseError {
    /// The text as given.
    pub text: String,
}

impl Subnet {
    /// The network that `address` belongs to when the first `prefix` bits (at most 32) name it.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: u32::from(address) & mask(prefix), prefix }
    }

    /// Number of leading bits that name the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address, which names the network itself.
    pub fn base(self) -> Ipv4Addr {
        self.base.into()
    }

    /// The address the bridge itself takes: the first usable one.
    pub fn gateway(self) -> Ipv4Addr {
        self.base.saturating_add(1).into()
    }

    /// The last address, which means all hosts.
    pub fn broadcast(self) -> Ipv4Addr {
        (self.base | !mask(self.prefix)).into()
    }

    /// The number of `address` within the network.
    pub fn number(self, address: Ipv4Addr) -> u32 {
        u32::from(address) & !mask(self.prefix)
    }

    /// Whether `address` lies in this network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }

    /// All addresses, round from the one at `start`, which is taken modulo their number.
    pub(crate) fn addresses_from(self, start: u32) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (base, mask) = (self.base, !mask(self.prefix));
        (0..=mask).map(move |n| (base | (start.wrapping_add(n) & mask)).into())
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(address, prefix)| {
                let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
                Some(Self::new(address.parse().ok()?, prefix))
            })
            .ok_or_else(|| SubnetParseError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn parses_and_prints() {
        let subnet: Subnet = "10.88.7.9/16".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.88.0.0/16");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 88, 0, 1));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 88, 255, 255));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "::/0"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_counts_the_shorter_prefix() {
        let cases = [
            ("10.88.0.0/16", "10.88.3.0/24", true),
            ("10.88.0.0/16", "10.89.0.0/16", false),
            ("0.0.0.0/0", "10.89.0.0/16", true),
            ("10.88.0.0/32", "10.88.0.1/32", false),
        ];
        for (a, b, expected) in cases {
            let (a, b): (Subnet, Subnet) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(b), b.overlaps(a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn addresses_go_round() {
        let subnet: Subnet = "192.168.5.8/30".parse().unwrap();
        let from =
            |start| subnet.addresses_from(start).map(|ip| ip.octets()[3]).collect::<Vec<_>>();
        assert_eq!(from(0), [8, 9, 10, 11]);
        assert_eq!(from(4 * 7 + 3), [11, 8, 9, 10]);
        assert_eq!("10.0.0.1/32".parse::<Subnet>().unwrap().addresses_from(5).count(), 1);
    }
}
