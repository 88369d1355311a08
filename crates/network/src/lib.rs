//! Gives a sandbox a network: a namespace of its own, an address on a bridge, and NAT to the world.
//!
//! The kernel is the only record of what is in use. A container's end of the cable is named after
//! its address (`bldv0a580005` is 10.88.0.5), and link names are unique, so creating the link *is*
//! the allocation: two processes can't get the same address, and nothing is written down that a
//! crash could leave stale. When the last process and file descriptor of a namespace are gone, the
//! kernel removes the link and with it the allocation.
//!
//! What does not exist here: a daemon, a lease file, an `async` function, a child process other
//! than `nft` (and `firewall-cmd` where firewalld runs), and both of them only when a bridge is set
//! up for the first time or the firewall was changed by someone else; and for ordinary users
//! `slirp4netns`, once for all containers.
//!
//! - [`new_netns`]: a network namespace as a file descriptor.
//! - [`Bridge`]: the bridge, its addresses and firewall table; attaches namespaces.
//! - [`Ports`]: ports of the host that lead to a container.
//! - [`Resolver`]: answers what neighbours are called.
//! - [`live_with`]: where bridges are when an ordinary user makes them.
//! - [`resolv_conf`], [`hosts_file`]: the two files a networked root file system needs.

mod across;
mod bridge;
mod dns;
mod endpoint;
mod error;
mod files;
mod firewall;
mod forward;
mod home;
mod link;
mod nat;
mod netlink;
mod netns;
mod nftables;
mod overlay;
mod subnet;
mod subnet6;

pub use across::Span;
pub use bridge::{Bridge, BridgeConfig, Plug, Range6};
pub use dns::{Names, RESOLVER, Resolver};
pub use endpoint::{Endpoint, Endpoint6, Mac, MacParseError};
pub use error::NetworkError;
pub use files::{hosts_file, resolv_conf, with_gateway};
pub use forward::{Forwarding, PortWish, Ports, Protocol, Published};
pub use home::live_with;
pub use nat::Target;
pub use netns::new_netns;
pub use overlay::{Overlay, USUAL_PORT};
pub use subnet::{Subnet, SubnetParseError};
pub use subnet6::Subnet6;
