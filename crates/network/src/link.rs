//! Links, addresses and routes: the rtnetlink(7) requests this crate makes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{errno::Errno, libc};

use crate::{
    Mac, Subnet,
    netlink::{Message, NESTED, Socket, find, number},
};

// linux/if_link.h and linux/veth.h
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const VETH_INFO_PEER: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_PORT: u16 = 15;
const RTM_NEWLINKPROP: u16 = 108;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;

const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;

const CREATE: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// What the kernel tells of a link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) is_bridge: bool,
}

/// The link called `name`.
pub(crate) fn by_name(socket: &Socket, name: &str) -> Result<Option<Link>, Errno> {
    get(socket, |message| message.link(0, 0).text(libc::IFLA_IFNAME, name))
}

/// The link numbered `index`.
pub(crate) fn by_index(socket: &Socket, index: u32) -> Result<Option<Link>, Errno> {
    get(socket, |message| message.link(index, 0))
}

fn get(socket: &Socket, select: impl FnOnce(Message) -> Message) -> Result<Option<Link>, Errno> {
    let message =
        select(Message::new(libc::RTM_GETLINK, 0)).number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let answers = match socket.call(message) {
        Err(Errno::ENODEV) => return Ok(None),
        answers => answers?,
    };
    let Some((fixed, attributes)) =
        answers.first().and_then(|answer| answer.split_at_checked(IFINFOMSG))
    else {
        return Ok(None);
    };
    let kind =
        find(attributes, libc::IFLA_LINKINFO).and_then(|info| find(info, libc::IFLA_INFO_KIND));
    Ok(Some(Link {
        index: number(&fixed[4..]),
        up: number(&fixed[8..]) & libc::IFF_UP as u32 != 0,
        mtu: find(attributes, libc::IFLA_MTU).map_or(1500, number),
        is_bridge: kind == Some(b"bridge\0"),
    }))
}

/// Creates a bridge and brings it up. Its hardware address is fixed, else it would change with the
/// ports that come and go, and the containers' neighbour entries with it.
pub(crate) fn add_bridge(socket: &Socket, name: &str, mac: Mac, mtu: u32) -> Result<(), Errno> {
    let message = Message::new(libc::RTM_NEWLINK, CREATE)
        .link(0, libc::IFF_UP)
        .text(libc::IFLA_IFNAME, name)
        .attr(libc::IFLA_ADDRESS, &mac.0)
        .number(libc::IFLA_MTU, mtu)
        .nest(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
    socket.call(message).map(drop)
}

/// One veth pair: a port of a bridge on this side, an interface in a namespace on the other.
pub(crate) struct Cable<'a> {
    pub(crate) host_link: &'a str,
    pub(crate) bridge: u32,
    pub(crate) interface: &'a str,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
}

/// Creates a veth pair with both ends in place, in one request. The far end is still down: the kernel
/// opens it only once both exist. Each has one queue, as it would anyway; but unless that is said, the
/// kernel makes more, takes them away again and waits until nobody looks at them.
pub(crate) fn add_cable(socket: &Socket, cable: &Cable<'_>) -> Result<(), Errno> {
    let message = Message::new(libc::RTM_NEWLINK, CREATE)
        .link(0, libc::IFF_UP)
        .text(libc::IFLA_IFNAME, cable.host_link)
        .number(libc::IFLA_MTU, cable.mtu)
        .number(libc::IFLA_NUM_TX_QUEUES, 1)
        .number(libc::IFLA_NUM_RX_QUEUES, 1)
        .number(libc::IFLA_MASTER, cable.bridge)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.link(0, 0)
                        .text(libc::IFLA_IFNAME, cable.interface)
                        .attr(libc::IFLA_ADDRESS, &cable.mac.0)
                        .number(libc::IFLA_MTU, cable.mtu)
                        .number(libc::IFLA_NUM_TX_QUEUES, 1)
                        .number(libc::IFLA_NUM_RX_QUEUES, 1)
                        .number(libc::IFLA_NET_NS_FD, cable.netns.as_raw_fd() as u32)
                })
            })
        });
    socket.call(message).map(drop)
}

/// Brings a link up.
pub(crate) fn set_up(socket: &Socket, index: u32) -> Result<(), Errno> {
    socket.call(Message::new(libc::RTM_NEWLINK, 0).link(index, libc::IFF_UP)).map(drop)
}

/// Deletes a link; `false` when there was none.
pub(crate) fn delete(socket: &Socket, name: &str) -> Result<bool, Errno> {
    let message = Message::new(libc::RTM_DELLINK, 0).link(0, 0).text(libc::IFLA_IFNAME, name);
    match socket.call(message) {
        Ok(_) => Ok(true),
        Err(Errno::ENODEV) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Gives a link an address; having it already is fine.
pub(crate) fn add_address(
    socket: &Socket,
    index: u32,
    ip: Ipv4Addr,
    subnet: Subnet,
) -> Result<(), Errno> {
    let message = Message::new(libc::RTM_NEWADDR, CREATE)
        .raw(&[libc::AF_INET as u8, subnet.prefix(), 0, 0]) // no flags, global scope
        .raw(&index.to_ne_bytes())
        .attr(libc::IFA_LOCAL, &ip.octets())
        .attr(libc::IFA_ADDRESS, &ip.octets())
        .attr(libc::IFA_BROADCAST, &subnet.broadcast().octets());
    match socket.call(message) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(other) => Err(other),
    }
}

/// The same for IPv6. The address can be used at once: nobody else is asked whether it is taken.
pub(crate) fn add_address6(
    socket: &Socket,
    index: u32,
    ip: Ipv6Addr,
    prefix: u8,
) -> Result<(), Errno> {
    let message = Message::new(libc::RTM_NEWADDR, CREATE)
        .raw(&[libc::AF_INET6 as u8, prefix, libc::IFA_F_NODAD as u8, 0]) // global scope
        .raw(&index.to_ne_bytes())
        .attr(libc::IFA_LOCAL, &ip.octets())
        .attr(libc::IFA_ADDRESS, &ip.octets());
    match socket.call(message) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Gives a link a further name, which nothing else in its namespace has; `EEXIST` when something does.
pub(crate) fn add_name(socket: &Socket, index: u32, name: &str) -> Result<(), Errno> {
    let message = Message::new(RTM_NEWLINKPROP, CREATE)
        .link(index, 0)
        .nest(IFLA_PROP_LIST | NESTED, |names| names.text(IFLA_ALT_IFNAME, name));
    socket.call(message).map(drop)
}

/// Creates a VXLAN link that is a port of a bridge; it is down, and knows no hosts yet.
pub(crate) fn add_vxlan(
    socket: &Socket,
    name: &str,
    vni: u32,
    port: u16,
    bridge: u32,
    mtu: u32,
) -> Result<(), Errno> {
    let message = Message::new(libc::RTM_NEWLINK, CREATE)
        .link(0, 0)
        .text(libc::IFLA_IFNAME, name)
        .number(libc::IFLA_MTU, mtu)
        .number(libc::IFLA_MASTER, bridge)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "vxlan").nest(libc::IFLA_INFO_DATA, |data| {
                data.number(IFLA_VXLAN_ID, vni).attr(IFLA_VXLAN_PORT, &port.to_be_bytes())
            })
        });
    socket.call(message).map(drop)
}

/// Has a VXLAN link send what is for everybody, or for nobody it knows, to a host as well.
pub(crate) fn add_peer(socket: &Socket, index: u32, host: Ipv4Addr) -> Result<(), Errno> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    let state = libc::NUD_NOARP | libc::NUD_PERMANENT;
    let message = Message::new(libc::RTM_NEWNEIGH, flags)
        .raw(&[libc::AF_BRIDGE as u8, 0, 0, 0])
        .raw(&index.to_ne_bytes())
        .raw(&[state as u8, 0, libc::NTF_SELF, 0])
        .attr(libc::NDA_LLADDR, &[0; 6])
        .attr(libc::NDA_DST, &host.octets());
    socket.call(message).map(drop)
}

/// The IPv4 addresses of a link, each with its prefix.
pub(crate) fn addresses(socket: &Socket, index: u32) -> Result<Vec<(Ipv4Addr, u8)>, Errno> {
    let message = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP)
        .raw(&[libc::AF_INET as u8, 0, 0, 0])
        .raw(&index.to_ne_bytes());
    let answers = socket.call(message)?;
    Ok(answers
        .iter()
        .filter_map(|answer| answer.split_at_checked(IFADDRMSG))
        .filter(|(fixed, _)| number(&fixed[4..]) == index)
        .filter_map(|(fixed, attributes)| {
            let ip: [u8; 4] = find(attributes, libc::IFA_LOCAL)?.try_into().ok()?;
            Some((ip.into(), fixed[1]))
        })
        .collect())
}

/// Sends everything that has no nearer route through `gateway`.
pub(crate) fn add_default_route(socket: &Socket, index: u32, gateway: IpAddr) -> Result<(), Errno> {
    let (family, gateway) = match gateway {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let message = Message::new(libc::RTM_NEWROUTE, CREATE)
        .raw(&[family as u8, 0, 0, 0]) // no destination or source prefix: the default
        .raw(&[libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST])
        .raw(&[0; 4])
        .attr(libc::RTA_GATEWAY, &gateway)
        .number(libc::RTA_OIF, index);
    socket.call(message).map(drop)
}

/// One of the host's IPv4 routes.
pub(crate) struct Route {
    pub(crate) destination: Subnet,
    pub(crate) link: u32,
}

/// The unicast routes of the main table.
pub(crate) fn routes(socket: &Socket) -> Result<Vec<Route>, Errno> {
    let message = Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP)
        .raw(&[libc::AF_INET as u8, 0, 0, 0])
        .raw(&[0; 8]);
    let answers = socket.call(message)?;
    Ok(answers
        .iter()
        .filter_map(|answer| answer.split_at_checked(RTMSG))
        .filter(|(fixed, _)| fixed[4] == libc::RT_TABLE_MAIN && fixed[7] == libc::RTN_UNICAST)
        .map(|(fixed, attributes)| {
            let address = find(attributes, libc::RTA_DST)
                .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
                .map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
            Route {
                destination: Subnet::new(address, fixed[1]),
                link: find(attributes, libc::RTA_OIF).map_or(0, number),
            }
        })
        .collect())
}
