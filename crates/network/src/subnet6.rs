//! An IPv6 network in prefix notation.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::Ipv6Addr,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::SubnetParseError;

/// An IPv6 network such as `fd00:1::/64`; the host bits are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    base: u128,
    prefix: u8,
}

impl Subnet6 {
    /// The network that `address` belongs to when the first `prefix` bits (at most 128) name it.
    pub fn new(address: Ipv6Addr, prefix: u8) -> Self {
        let prefix = prefix.min(128);
        Self { base: u128::from(address) & mask(prefix), prefix }
    }

    /// A network of 64 bits of its own for whatever has this name: its prefix is as good as random, as
    /// RFC 4193 has it.
    pub fn unique_local(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let number = u128::from(hasher.finish() >> 8) << 64;
        Self { base: (0xfd << 120) | number, prefix: 64 }
    }

    /// Number of leading bits that name the network.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address, which names the network itself.
    pub fn base(self) -> Ipv6Addr {
        self.base.into()
    }

    /// The address with a number within the network.
    pub fn host(self, number: u32) -> Ipv6Addr {
        (self.base | (u128::from(number) & !mask(self.prefix))).into()
    }

    /// Whether `address` lies in this network.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.prefix) == self.base
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl FromStr for Subnet6 {
    type Err = SubnetParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('/')
            .and_then(|(address, prefix)| {
                let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 128)?;
                Some(Self::new(address.parse().ok()?, prefix))
            })
            .ok_or_else(|| SubnetParseError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = SubnetParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    #[test]
    fn parses_prints_and_numbers() {
        let subnet: Subnet6 = "fd00:1::5/64".parse().unwrap();
        assert_eq!(subnet.to_string(), "fd00:1::/64");
        assert_eq!(subnet.host(0x1_0203).to_string(), "fd00:1::1:203");
        assert!(subnet.contains("fd00:1::9".parse().unwrap()));
        assert!(subnet.overlaps("fd00::/16".parse().unwrap()));
        assert!(!subnet.overlaps("fd00:2::/64".parse().unwrap()));
        for bad in ["", "fd00::", "fd00::/129", "10.0.0.0/8"] {
            assert!(bad.parse::<Subnet6>().is_err(), "{bad}");
        }
        let own = Subnet6::unique_local("back");
        assert_eq!((own.base().octets()[0], own.prefix()), (0xfd, 64));
        assert_ne!(own, Subnet6::unique_local("front"));
    }
}
