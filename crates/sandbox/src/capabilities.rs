//! Sets of Linux capabilities, see capabilities(7).

use crate::error::SandboxError;

/// Names in the order of their numbers in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set.
const DOCKER: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A set of capabilities: bit n stands for the capability with number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

impl Capabilities {
    /// No capability.
    pub const NONE: Self = Self(0);

    /// Every capability this crate knows, which is every one of Linux 5.9 and later.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// What Docker gives a container unless told otherwise.
    pub const fn docker() -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < DOCKER.len() {
            bits |= 1 << number(DOCKER[i]);
            i += 1;
        }
        Self(bits)
    }

    /// The set with these bits; unknown ones are dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Parses `NET_ADMIN`, `CAP_NET_ADMIN` or `ALL` in any case, as Docker's `--cap-add` does.
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            return Some(Self::ALL);
        }
        NAMES.iter().position(|n| *n == bare).map(|n| Self(1 << n))
    }

    /// Both sets together.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of the other set.
    #[must_use]
    pub const fn drop(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every capability of the other set is in this one.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of the set that the caller can give: nobody can give what he does not have.
    pub(crate) fn available(self) -> Result<Self, SandboxError> {
        let own = rustix::thread::capabilities(None)
            .map_err(|e| SandboxError::setup("read own capabilities", e))?;
        Ok(Self(self.0 & own.permitted.bits()))
    }

    /// The names, `CAP_` in front, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(n, _)| self.0 >> n & 1 == 1)
            .map(|(_, name)| format!("CAP_{name}"))
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::docker()
    }
}

const fn number(name: &str) -> usize {
    let mut n = 0;
    while n < NAMES.len() {
        if same(NAMES[n].as_bytes(), name.as_bytes()) {
            return n;
        }
        n += 1;
    }
    panic!("no such capability")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_default_is_the_well_known_mask() {
        assert_eq!(Capabilities::docker().bits(), 0xa804_25fb);
    }

    #[test]
    fn names_parse_back() {
        for name in Capabilities::ALL.names() {
            let parsed = Capabilities::parse(&name);
            assert_eq!(parsed.map(|c| c.names().collect::<Vec<_>>()), Some(vec![name]));
        }
        assert_eq!(Capabilities::parse("net_admin"), Capabilities::parse("CAP_NET_ADMIN"));
        assert_eq!(Capabilities::parse("all"), Some(Capabilities::ALL));
        assert_eq!(Capabilities::parse("CAP_NOPE"), None);
    }

    #[test]
    fn add_and_drop() {
        let admin = Capabilities::parse("SYS_ADMIN").unwrap_or(Capabilities::NONE);
        assert!(!Capabilities::docker().contains(admin));
        assert!(Capabilities::docker().add(admin).contains(admin));
        assert_eq!(Capabilities::docker().add(admin).drop(admin), Capabilities::docker());
    }
}
