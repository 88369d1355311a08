//! What can go wrong while a network is set up.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use nix::errno::Errno;

use crate::Subnet;

/// Why a network could not be given, changed or taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The kernel refused a request about a link, an address or a route.
    #[error("{operation} {link}")]
    Netlink {
        /// What was asked, as a verb phrase.
        operation: &'static str,
        /// Name of the link concerned.
        link: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// A network namespace could not be created or entered.
    #[error("{operation} a network namespace")]
    Namespace {
        /// `create` or `enter`.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A state file or a kernel setting could not be read or written.
    #[error("access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The firewall tool is not installed.
    #[error(
        "find the program `nft`: bridge networking needs it (package nftables); \
         `--network host` and `--network none` work without"
    )]
    NftMissing,
    /// What connects an ordinary user's containers with the world is not installed.
    #[error(
        "find the program `slirp4netns`: networks of an ordinary user need it (package \
         slirp4netns); `--network host` and `--network none` work without"
    )]
    UplinkMissing,
    /// It does not work.
    #[error("connect containers with `slirp4netns`: {message}; see `bld doctor`")]
    Uplink {
        /// What it printed.
        message: String,
    },
    /// The firewall tool could not be run.
    #[error("run `{program}`")]
    Spawn {
        /// The program.
        program: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The firewall tool refused what it was given.
    #[error("change the firewall with `{program}`: {message}")]
    Firewall {
        /// The program.
        program: &'static str,
        /// What it printed.
        message: String,
    },
    /// The wanted subnet overlaps a route the host already has.
    #[error("use subnet {subnet}: it overlaps the host's route to {route}")]
    SubnetClash {
        /// The wanted subnet.
        subnet: Subnet,
        /// The route in its way.
        route: Subnet,
    },
    /// None of the default subnets is free.
    #[error(
        "find a free subnet between 10.88.0.0/16 and 10.127.0.0/16: the host has routes to all"
    )]
    NoFreeSubnet,
    /// Every address of the bridge's subnet is in use, or the bridge has no port left.
    #[error("find a free address on {bridge} ({subnet})")]
    Full {
        /// Name of the bridge.
        bridge: String,
        /// Its subnet.
        subnet: Subnet,
    },
    /// Somebody else has the wanted address.
    #[error("use address {ip}: it is already in use")]
    AddressTaken {
        /// The wanted address.
        ip: IpAddr,
    },
    /// The wanted address is not one that a container of the network can have.
    #[error("use address {ip}: no configured subnet contains it; the network has {subnet}")]
    AddressElsewhere {
        /// The wanted address.
        ip: IpAddr,
        /// What the network has of this kind: its subnet, or that it has none.
        subnet: String,
    },
    /// The resolver of a container could not be set up.
    #[error("start a resolver")]
    Resolver {
        /// The system's answer.
        source: io::Error,
    },
    /// A port of the host could not be had.
    #[error("Bind for {address} failed: {}", port_refusal(source))]
    Port {
        /// The address on the host.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A link of the wanted name exists and is something else.
    #[error("use {name} as a bridge: a link of that name exists and is not one")]
    NotABridge {
        /// Name of the link.
        name: String,
    },
    /// The name can't be that of a link or of a firewall table.
    #[error("use {name:?} as a name: 1 to 15 letters, digits, `-` or `_` are allowed")]
    InvalidName {
        /// The name as given.
        name: String,
    },
}

impl NetworkError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn netlink(operation: &'static str, link: &str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Netlink { operation, link: link.to_owned(), source }
    }
}

/// Why a port can't be had, in the words that scripts look for.
fn port_refusal(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "port is already allocated".to_owned(),
        _ => source.to_string(),
    }
}
