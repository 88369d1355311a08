//! The resolver that containers of a network of their own ask: it knows the names of their
//! neighbours, and asks the host's servers for all others.
//!
//! It answers at 127.0.0.11 within the container's network namespace, where Docker's does. What
//! listens there are sockets of the process that holds the container, on ports of their own: port 53
//! is led to them, and stays free for a server that runs in the container.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, PTR, RData},
};

use crate::{
    NetworkError,
    across::{Across, Span, may_be_there},
    firewall::nft,
    netns,
};

/// Where the resolver answers, in every container.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port of name servers.
const PORT: u16 = 53;

/// Seconds for which an answer of ours is good.
const TTL: u32 = 600;

/// How long a server of the host may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The most questions that wait for servers of the host at the same time.
const WAITING: usize = 256;

/// The longest message.
const MESSAGE: usize = 64 << 10;

/// Enough for the thread of one question.
const STACK: usize = 256 << 10;

/// Who knows the names of a container's neighbours.
pub trait Names: Send + Sync {
    /// The addresses of `name`, which is in lower case and has no dot at its end; none when there is
    /// no such neighbour.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;

    /// The name of the neighbour that has an address.
    fn name(&self, address: IpAddr) -> Option<String>;

    /// The servers to ask for other names; none on a network without a way out.
    fn servers(&self) -> Vec<SocketAddr>;

    /// The container's places on networks that span machines.
    fn spans(&self) -> Vec<Span>;

    /// The addresses of `name`, if it is one of the container's own.
    fn own_addresses(&self, name: &str) -> Option<Vec<IpAddr>>;

    /// Whether the container is on a network of that name.
    fn is_network(&self, name: &str) -> bool;
}

/// A resolver that answers, until dropped.
#[derive(Debug)]
pub struct Resolver {
    stop: Arc<OwnedFd>,
    /// It speaks to other machines.
    spans: bool,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Answers in `netns` by what `names` knows; with `spans`, asks other machines as well and answers
    /// them.
    ///
    /// # Errors
    /// When its sockets can't be opened or port 53 can't be led to them.
    pub fn start(
        netns: BorrowedFd<'_>,
        names: Arc<dyn Names>,
        spans: bool,
    ) -> Result<Self, NetworkError> {
        let failed = |source| NetworkError::Resolver { source };
        let (udp, tcp) = netns::inside(netns, || {
            let udp = UdpSocket::bind((RESOLVER, 0)).map_err(failed)?;
            let tcp = TcpListener::bind((RESOLVER, 0)).map_err(failed)?;
            let port = |address: io::Result<SocketAddr>| {
                address.map(|address| address.port()).map_err(failed)
            };
            nft(&["-f", "-"], &rules(port(udp.local_addr())?, port(tcp.local_addr())?))?;
            Ok((udp, tcp))
        })?;
        let across = spans.then(|| netns.try_clone_to_owned().map_err(failed)).transpose()?;
        let across = across.map(Across::open).transpose()?.map(Arc::new);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let stop = Arc::new(stop);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("resolver".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&Arc::new(udp), &tcp, across.as_ref(), &names, &stopped))
            .map_err(failed)?;
        Ok(Self { stop, spans, thread: Some(thread) })
    }

    /// Whether it asks other machines, and answers them.
    pub fn spans(&self) -> bool {
        self.spans
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // The counter is far from full.
        let _rings = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Leads port 53 of the resolver's address to its sockets.
fn rules(udp: u16, tcp: u16) -> String {
    format!(
        "table ip bld_resolver {{}}
delete table ip bld_resolver
table ip bld_resolver {{
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr {RESOLVER} udp dport {PORT} dnat to {RESOLVER}:{udp}
    ip daddr {RESOLVER} tcp dport {PORT} dnat to {RESOLVER}:{tcp}
  }}
}}
"
    )
}

fn serve(
    udp: &Arc<UdpSocket>,
    tcp: &TcpListener,
    across: Option<&Arc<Across>>,
    names: &Arc<dyn Names>,
    stop: &OwnedFd,
) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let mut buffer = vec![0; MESSAGE];
    loop {
        let mut fds = vec![
            PollFd::new(udp, PollFlags::IN),
            PollFd::new(tcp, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        fds.extend(across.map(|across| PollFd::new(across.ear(), PollFlags::IN)));
        if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let (asked, connected) = (ready[0], ready[1]);
        if ready[2] {
            return;
        }
        if let Some(across) = across.filter(|_| ready[3]) {
            let own = |name: &str| names.own_addresses(name);
            across.respond(&names.spans(), |question| about(question, &own));
        }
        if asked && let Ok((length, sender)) = udp.recv_from(&mut buffer) {
            let question = buffer[..length].to_vec();
            if let Some(answer) = known(&question, names.as_ref()) {
                let _lost = udp.send_to(&answer, sender);
            } else {
                let (udp, names) = (Arc::clone(udp), Arc::clone(names));
                let across = across.cloned();
                spawn(&waiting, move || {
                    let answer = elsewhere(&question, across.as_deref(), names.as_ref());
                    let answer = answer.or_else(|| {
                        let mut servers = names.servers().into_iter();
                        servers.find_map(|server| forwarded_by_udp(&question, server).ok())
                    });
                    let answer = answer.or_else(|| failure(&question));
                    if let Some(answer) = answer {
                        let _lost = udp.send_to(&answer, sender);
                    }
                });
            }
        }
        if connected && let Ok((stream, _)) = tcp.accept() {
            let (names, across) = (Arc::clone(names), across.cloned());
            spawn(&waiting, move || {
                // Whoever asks sees the end of the connection.
                let _ended = converse(stream, across.as_deref(), names.as_ref());
            });
        }
    }
}

/// Does something on a thread of its own, unless there are too many already: who asks asks again.
fn spawn(waiting: &Arc<AtomicUsize>, work: impl FnOnce() + Send + 'static) {
    if waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
        waiting.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let done = Arc::clone(waiting);
    let thread = thread::Builder::new().name("question".to_owned()).stack_size(STACK);
    let spawned = thread.spawn(move || {
        work();
        done.fetch_sub(1, Ordering::AcqRel);
    });
    if spawned.is_err() {
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers what is asked by one connection; see RFC 1035, section 4.2.2.
fn converse(mut stream: TcpStream, across: Option<&Across>, names: &dyn Names) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    loop {
        let question = read_message(&mut stream)?;
        let answer = known(&question, names)
            .or_else(|| elsewhere(&question, across, names))
            .or_else(|| {
                let mut servers = names.servers().into_iter();
                servers.find_map(|server| forwarded_by_tcp(&question, server).ok())
            })
            .or_else(|| failure(&question))
            .ok_or(io::ErrorKind::InvalidData)?;
        write_message(&mut stream, &answer)?;
    }
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

fn forwarded_by_udp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut answer = vec![0; MESSAGE];
    loop {
        let length = socket.recv(&mut answer)?;
        // The identification of RFC 1035: what answers another question is not for us.
        if length >= 2 && answer[..2] == question[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

fn forwarded_by_tcp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write_message(&mut stream, question)?;
    read_message(&mut stream)
}

/// What another machine answers, if it may be about a container there.
fn elsewhere(question: &[u8], across: Option<&Across>, names: &dyn Names) -> Option<Vec<u8>> {
    let across = across?;
    let packet = Packet::parse(question).ok()?;
    let name = packet.questions.first()?.qname.to_string().to_lowercase();
    may_be_there(&name, names).then(|| across.ask(question, &names.spans())).flatten()
}

/// The answer to a question about a neighbour; none when it is about somebody else.
fn known(question: &[u8], names: &dyn Names) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).ok()?;
    let [asked] = packet.questions.as_slice() else { return None };
    if asked.qtype != QTYPE::TYPE(TYPE::PTR) {
        return about(question, &|name| names.addresses(name));
    }
    let host = names.name(reverse(&asked.qname.to_string().to_lowercase())?)?;
    let host = Name::new(&host).ok()?.into_owned();
    let mut reply = reply(&packet);
    let data = RData::PTR(PTR(host));
    reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, TTL, data));
    reply.build_bytes_vec_compressed().ok()
}

/// The answer to a question about a name, by the addresses that it has.
fn about(question: &[u8], addresses: &dyn Fn(&str) -> Option<Vec<IpAddr>>) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).ok()?;
    let [asked] = packet.questions.as_slice() else { return None };
    let name = asked.qname.to_string().to_lowercase();
    let mut reply = reply(&packet);
    let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, TTL, data);
    let addresses = addresses(&name)?;
    // Asked for anything else, a name that exists has nothing to say.
    let (v4, v6) = match asked.qtype {
        QTYPE::TYPE(TYPE::A) => (true, false),
        QTYPE::TYPE(TYPE::AAAA) => (false, true),
        QTYPE::ANY => (true, true),
        _ => (false, false),
    };
    let records = addresses.into_iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => v4.then(|| record(RData::A(A { address: ip.into() }))),
        IpAddr::V6(ip) => v6.then(|| record(RData::AAAA(AAAA { address: ip.into() }))),
    });
    reply.answers.extend(records);
    reply.build_bytes_vec_compressed().ok()
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` is about.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".ip6.arpa") {
        let digits: Vec<&str> = digits.rsplit('.').collect();
        let whole = digits.len() == 32 && digits.iter().all(|digit| digit.len() == 1);
        let number = u128::from_str_radix(&digits.concat(), 16).ok().filter(|_| whole)?;
        return Some(Ipv6Addr::from(number).into());
    }
    let [a, b, c, d] = name.strip_suffix(".in-addr.arpa")?.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(d, c, b, a).into())
}

/// An answer to `packet` that says nothing yet.
fn reply<'a>(packet: &Packet<'a>) -> Packet<'a> {
    let mut reply = packet.clone().into_reply();
    reply.questions.clone_from(&packet.questions);
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    reply
}

/// The answer when no server has any.
fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).ok()?;
    let mut reply = reply(&packet);
    *reply.rcode_mut() = RCODE::ServerFailure;
    reply.build_bytes_vec_compressed().ok()
}
