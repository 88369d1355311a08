//! Messages to nf_tables, the kernel's side of nftables: tables that end with the socket that made them,
//! which the `nft` program can't make for us.
//!
//! Names are those of `linux/netfilter/nf_tables.h`; what is asked for is put in place at one stroke.

use std::net::IpAddr;

use nix::{errno::Errno, libc};

use crate::netlink::{Message, NESTED, Socket, find};

/// The subsystem, in the upper half of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 0xc;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// Length of what is in front of the attributes.
const NFGENMSG: usize = 4;

const FAMILY_INET: u8 = 1;
const FAMILY_IP: u8 = 2;
const FAMILY_IP6: u8 = 10;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// The table belongs to the socket, and goes with it.
const OWNED: u32 = 2;

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const LOCAL_IN: u32 = 1;
const DROP: u32 = 0;
/// Where destinations are changed.
const DSTNAT: i32 = -100;

const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LENGTH: u16 = 7;
const SET_ID: u16 = 10;
const IS_MAP: u32 = 8;
/// What `nft` calls `inet_service`.
const TYPE_PORT: u32 = 13;
const PORT_LENGTH: u32 = 2;

const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
/// How many fit one message: an attribute has 64 KiB.
const ELEMENTS_AT_ONCE: usize = 1000;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ITEM: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const VALUE: u16 = 1;

/// The number that changes with every change of the firewall.
const GENERATION: u16 = 1;

/// A kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Ip,
    Ip6,
}

impl Family {
    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ip } else { Self::Ip6 }
    }

    fn number(self) -> u8 {
        match self {
            Self::Ip => FAMILY_IP,
            Self::Ip6 => FAMILY_IP6,
        }
    }
}

/// Where packets get another destination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    /// Those that come in.
    Incoming,
    /// Those of the host's own programs.
    Outgoing,
}

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Incoming => "prerouting",
            Self::Outgoing => "output",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Incoming => 0,
            Self::Outgoing => 3,
        }
    }
}

/// The number of changes made to the firewall so far, by anyone; cheap to ask for.
pub(crate) fn generation() -> Result<u32, Errno> {
    let answers = Socket::netfilter()?.call(message(GET_GENERATION, 0, 0))?;
    answers
        .first()
        .and_then(|answer| find(answer.get(NFGENMSG..)?, GENERATION))
        .and_then(be32)
        .ok_or(Errno::EBADMSG)
}

/// Whether somebody's chain denies what comes in to the host's own programs unless it is allowed.
pub(crate) fn denies_by_default(socket: &Socket, family: Family) -> Result<bool, Errno> {
    let answers = socket.call(message(GET_CHAIN, libc::NLM_F_DUMP, 0))?;
    let denies = |answer: &Vec<u8>| {
        let (fixed, attributes) = answer.split_at_checked(NFGENMSG)?;
        let hook = find(attributes, CHAIN_HOOK)?;
        let concerned = [FAMILY_INET, family.number()].contains(&fixed[0]);
        if !concerned || be32(find(hook, HOOK_NUMBER)?) != Some(LOCAL_IN) {
            return None;
        }
        // Its chain accepts by default, and ends with a rule that refuses.
        let firewalld = find(attributes, CHAIN_TABLE) == Some(b"firewalld\0");
        Some(firewalld || be32(find(attributes, CHAIN_POLICY)?) == Some(DROP))
    };
    Ok(answers.iter().any(|answer| denies(answer).unwrap_or(false)))
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn message(kind: u16, flags: libc::c_int, family: u8) -> Message {
    Message::new(kind, flags).raw(&[family, 0, 0, 0])
}

/// Changes that are made together, or not at all.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<Message>,
    sets: u32,
}

impl Batch {
    fn add(&mut self, kind: u16, flags: libc::c_int, family: Family) -> &mut Message {
        let number = family.number();
        let quiet = Message::quiet(kind, flags | libc::NLM_F_CREATE).raw(&[number, 0, 0, 0]);
        self.messages.push(quiet);
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }

    /// A table that lasts as long as the socket the batch is sent by.
    pub(crate) fn table(&mut self, family: Family, table: &str) {
        let message = self.add(NEW_TABLE, libc::NLM_F_EXCL, family);
        message.extend(|m| m.text(TABLE_NAME, table).big(TABLE_FLAGS, OWNED));
    }

    /// A chain that changes destinations, called as its hook is.
    pub(crate) fn chain(&mut self, family: Family, table: &str, hook: Hook) {
        self.add(NEW_CHAIN, 0, family).extend(|m| {
            m.text(CHAIN_TABLE, table)
                .text(CHAIN_NAME, hook.name())
                .nest(CHAIN_HOOK | NESTED, |at| {
                    at.big(HOOK_NUMBER, hook.number()).big(HOOK_PRIORITY, DSTNAT.cast_unsigned())
                })
                .text(CHAIN_TYPE, "nat")
        });
    }

    /// A map from ports to ports.
    pub(crate) fn ports(&mut self, family: Family, table: &str, map: &str, ports: &[(u16, u16)]) {
        self.sets += 1;
        let id = self.sets;
        self.add(NEW_SET, 0, family).extend(|m| {
            m.text(SET_TABLE, table)
                .text(SET_NAME, map)
                .big(SET_FLAGS, IS_MAP)
                .big(SET_KEY_TYPE, TYPE_PORT)
                .big(SET_KEY_LENGTH, PORT_LENGTH)
                .big(SET_DATA_TYPE, TYPE_PORT)
                .big(SET_DATA_LENGTH, PORT_LENGTH)
                .big(SET_ID, id)
        });
        for some in ports.chunks(ELEMENTS_AT_ONCE) {
            self.add(NEW_ELEMENTS, 0, family).extend(|m| {
                m.text(ELEMENTS_TABLE, table).text(ELEMENTS_SET, map).nest(
                    ELEMENTS | NESTED,
                    |list| {
                        some.iter().fold(list, |list, (from, to)| {
                            list.nest(LIST_ITEM | NESTED, |item| {
                                let item = value(item, ELEMENT_KEY, &from.to_be_bytes());
                                value(item, ELEMENT_DATA, &to.to_be_bytes())
                            })
                        })
                    },
                )
            });
        }
    }

    /// A rule, the last of its chain.
    pub(crate) fn rule(&mut self, family: Family, table: &str, hook: Hook, steps: &[Step<'_>]) {
        self.add(NEW_RULE, libc::NLM_F_APPEND, family).extend(|m| {
            m.text(RULE_TABLE, table)
                .text(RULE_CHAIN, hook.name())
                .nest(RULE_EXPRESSIONS | NESTED, |list| {
                    steps.iter().fold(list, |list, step| step.append(family, list))
                })
        });
    }

    /// Makes the changes.
    pub(crate) fn send(self, socket: &Socket) -> Result<(), Errno> {
        // The family of what is around the changes is the subsystem.
        let around = |kind| Message::quiet(kind, 0).raw(&[0, 0, 0, (SUBSYSTEM >> 8) as u8]);
        socket.batch(around(BATCH_BEGIN), self.messages, around(BATCH_END))
    }
}

/// A part of a rule. What follows one that does not hold is not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// It comes in by an interface whose name begins otherwise.
    NotFrom(&'a str),
    /// It is for this address.
    To(IpAddr),
    /// It is for an address of the host.
    ToHost,
    /// It is not for loopback.
    NotToLoopback,
    /// It has this protocol, by number.
    Protocol(u8),
    /// Its port is in this map; it goes to the address, and the port found there.
    Lead { map: &'a str, to: IpAddr },
}

// Registers, of 16 bytes each.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

const META_INTERFACE: u32 = 6;
const META_PROTOCOL: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const FIB_ADDRESS_TYPE: u32 = 3;
const DNAT: u32 = 1;

impl Step<'_> {
    fn append(self, family: Family, list: Message) -> Message {
        match self {
            Self::NotFrom(name) => {
                let list = meta(list, META_INTERFACE);
                compare(list, UNEQUAL, name.as_bytes())
            }
            Self::To(IpAddr::V4(ip)) => {
                compare(payload(list, NETWORK_HEADER, 16, 4), EQUAL, &ip.octets())
            }
            Self::To(IpAddr::V6(ip)) => {
                compare(payload(list, NETWORK_HEADER, 24, 16), EQUAL, &ip.octets())
            }
            Self::ToHost => {
                let list = expression(list, "fib", |m| {
                    m.big(1, FIRST).big(2, FIB_ADDRESS_TYPE).big(3, FIB_DESTINATION)
                });
                compare(list, EQUAL, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
            }
            Self::NotToLoopback => match family {
                Family::Ip => compare(payload(list, NETWORK_HEADER, 16, 1), UNEQUAL, &[127]),
                Family::Ip6 => {
                    let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
                    compare(payload(list, NETWORK_HEADER, 24, 16), UNEQUAL, &loopback)
                }
            },
            Self::Protocol(number) => compare(meta(list, META_PROTOCOL), EQUAL, &[number]),
            Self::Lead { map, to } => {
                let list = payload(list, TRANSPORT_HEADER, 2, PORT_LENGTH);
                let list =
                    expression(list, "lookup", |m| m.text(1, map).big(2, FIRST).big(3, SECOND));
                let list = expression(list, "immediate", |m| {
                    let m = m.big(1, FIRST);
                    match to {
                        IpAddr::V4(ip) => value(m, 2, &ip.octets()),
                        IpAddr::V6(ip) => value(m, 2, &ip.octets()),
                    }
                });
                expression(list, "nat", |m| {
                    m.big(1, DNAT).big(2, family.number().into()).big(3, FIRST).big(5, SECOND)
                })
            }
        }
    }
}

fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nest(LIST_ITEM | NESTED, |item| {
        item.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA | NESTED, data)
    })
}

fn value(message: Message, kind: u16, bytes: &[u8]) -> Message {
    message.nest(kind | NESTED, |data| data.attr(VALUE, bytes))
}

fn meta(list: Message, key: u32) -> Message {
    expression(list, "meta", |m| m.big(1, FIRST).big(2, key))
}

fn payload(list: Message, base: u32, offset: u32, length: u32) -> Message {
    expression(list, "payload", |m| m.big(1, FIRST).big(2, base).big(3, offset).big(4, length))
}

fn compare(list: Message, how: u32, with: &[u8]) -> Message {
    expression(list, "cmp", |m| value(m.big(1, FIRST).big(2, how), 3, with))
}
