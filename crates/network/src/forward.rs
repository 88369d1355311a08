//! Ports of the host that lead to ports of a container.
//!
//! The process that holds the container listens and carries the bytes. So a port that is taken shows
//! when it is bound, loopback and IPv6 need nothing special, and nothing is left of it when the
//! process ends, however it does. What comes from elsewhere the kernel leads there itself, where it can
//! (see [`nat`](crate::nat)).

mod datagrams;
mod table;

use std::{
    fmt, io,
    net::{
        IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream,
        UdpSocket,
    },
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
};
use serde::{Deserialize, Serialize};

use crate::{NetworkError, Target, bridge, home::go_home, nat::Translation};

/// Room for what is on its way in one direction.
const BUFFER: usize = 32 << 10;

/// How long a container may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What carries one connection needs little.
const STACK: usize = 64 << 10;

/// How many connections may wait to be accepted; listen(2) cuts it to what the system allows.
const BACKLOG: i32 = 4096;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of a container that is to be reached by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortWish {
    /// The port in the container.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address on the host; all of them when absent.
    pub host_ip: Option<IpAddr>,
    /// The ports on the host, first and last, of which one is taken; any when absent.
    pub host_ports: Option<(u16, u16)>,
}

/// A port of the host that leads to one of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The port in the container.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address on the host.
    pub host: SocketAddr,
}

/// How many ports one thread has. More than that are given to several, each with descriptors of its own.
const AT_ONCE: usize = 200;

/// Ports of the host that were taken, and lead nowhere yet.
#[derive(Debug)]
pub struct Ports {
    stop: Arc<OwnedFd>,
    groups: Vec<Group>,
}

/// Ports that one thread has taken. It waits to be told where they lead.
#[derive(Debug)]
struct Group {
    published: Vec<Published>,
    aim: Sender<Aim>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Taken {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Ports {
    /// Takes what is wished for: all of it or nothing.
    ///
    /// # Errors
    /// [`NetworkError::Port`] for the first port that can't be had.
    pub fn take(wishes: &[PortWish]) -> Result<Self, NetworkError> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| unusable(error.into()))?;
        let mut ports = Self { stop: Arc::new(stop), groups: Vec::new() };
        let apart = wishes.len() > AT_ONCE;
        for some in wishes.chunks(AT_ONCE) {
            ports.groups.push(Group::start(some.to_vec(), &ports.stop, apart)?);
        }
        Ok(ports)
    }

    /// What was taken.
    pub fn published(&self) -> Vec<Published> {
        self.groups.iter().flat_map(|group| group.published.iter().copied()).collect()
    }

    /// Leads everything to the container that has the addresses `target`, until the result is dropped.
    /// `state_dir` is where the bridges have their notes.
    pub fn lead_to(mut self, target: Target, state_dir: &Path) -> Forwarding {
        let mut forwarding = Forwarding {
            ports: self.published(),
            stop: Arc::clone(&self.stop),
            threads: Vec::new(),
            aim: Aim::default(),
            state_dir: state_dir.to_owned(),
            translation: None,
        };
        for group in std::mem::take(&mut self.groups) {
            // A thread that has ended carries nothing; the kernel still leads what it can.
            let _ended = group.aim.send(Arc::clone(&forwarding.aim));
            forwarding.threads.push(group.thread);
        }
        if !forwarding.ports.is_empty() {
            forwarding.redirect(Some(target));
        }
        forwarding
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        // Nobody tells the threads any more where the ports lead: they end, and the ports are free.
        for Group { aim, thread, .. } in self.groups.drain(..) {
            drop(aim);
            let _ended = thread.join();
        }
    }
}

/// The error when nothing can be taken at all.
fn unusable(source: io::Error) -> NetworkError {
    NetworkError::Port { address: SocketAddr::new(ANY, 0), source }
}

impl Group {
    /// Starts a thread that takes what is wished for; `apart`, with descriptors of its own.
    fn start(
        wishes: Vec<PortWish>,
        stop: &Arc<OwnedFd>,
        apart: bool,
    ) -> Result<Self, NetworkError> {
        let (report, taken) = mpsc::channel();
        let (aim, told) = mpsc::channel::<Aim>();
        let stop = Arc::downgrade(stop);
        let thread = small_thread("ports").spawn(move || {
            let doors = Doors::open(&wishes, &stop, apart);
            let (doors, published) = match doors {
                Ok(doors) => {
                    let ports = doors.ports.iter().flatten().map(|(published, _)| *published);
                    let published = ports.collect();
                    (Some(doors), Ok(published))
                }
                Err(error) => (None, Err(error)),
            };
            // Who does not listen any more does not tell where they lead either.
            let _unheard = report.send(published);
            if let (Some(doors), Ok(aim)) = (doors, told.recv()) {
                doors.attend(&aim);
            }
        });
        let thread = thread.map_err(unusable)?;
        let lost = |_| unusable(io::ErrorKind::BrokenPipe.into());
        let published = taken.recv().map_err(lost)??;
        Ok(Self { published, aim, thread })
    }
}

/// Ports that were taken so far.
#[derive(Default)]
struct Taking(Vec<(Published, Taken)>);

impl Taking {
    fn take_one(&mut self, wish: &PortWish) -> Result<(), NetworkError> {
        let (first, last) = wish.host_ports.unwrap_or((0, 0));
        let mut refused = None;
        for port in first..=last {
            match bound(wish, port) {
                Ok(taken) => {
                    self.0.extend(taken);
                    return Ok(());
                }
                Err(error) => refused = Some(error),
            }
        }
        let address = SocketAddr::new(wish.host_ip.unwrap_or(ANY), first);
        let nothing = || NetworkError::Port { address, source: io::ErrorKind::InvalidInput.into() };
        Err(refused.unwrap_or_else(nothing))
    }
}

/// Where ports lead at the moment.
type Aim = Arc<Mutex<Option<Target>>>;

/// The address that ports lead to at the moment.
fn aimed_at(aim: &Aim) -> io::Result<Ipv4Addr> {
    let target = *aim.lock().unwrap_or_else(PoisonError::into_inner);
    target.map(|target| target.v4).ok_or_else(|| io::ErrorKind::HostUnreachable.into())
}

impl Taken {
    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

fn number(index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(index as u64)
}

/// Ports that one thread waits at.
struct Doors {
    epoll: OwnedFd,
    /// Those for datagrams are given to a thread of their own when the first one comes.
    ports: Vec<Option<(Published, Taken)>>,
    stop: Arc<OwnedFd>,
}

impl Doors {
    fn open(wishes: &[PortWish], stop: &Weak<OwnedFd>, apart: bool) -> Result<Self, NetworkError> {
        let stop = if apart {
            table::own(stop).map(Arc::new)
        } else {
            stop.upgrade().ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let stop = stop.map_err(unusable)?;
        let mut taking = Taking::default();
        for wish in wishes {
            taking.take_one(wish)?;
        }
        let ports: Vec<_> = taking.0.into_iter().map(Some).collect();
        let watch = || -> io::Result<OwnedFd> {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            for (index, port) in ports.iter().enumerate() {
                let Some((_, taken)) = port else { continue };
                epoll::add(&epoll, taken.socket(), number(index), epoll::EventFlags::IN)?;
            }
            epoll::add(&epoll, &stop, number(ports.len()), epoll::EventFlags::IN)?;
            Ok(epoll)
        };
        let epoll = watch().map_err(unusable)?;
        Ok(Self { epoll, ports, stop })
    }

    /// Carries what comes to where `aim` leads, until told to stop.
    fn attend(mut self, aim: &Aim) {
        let mut threads = Vec::new();
        let mut events = Vec::with_capacity(64);
        'attend: loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            for event in &events {
                let Ok(index) = usize::try_from(event.data.u64()) else { continue };
                // The number after those of the ports is the one that ends it.
                let Some(port) = self.ports.get_mut(index) else { break 'attend };
                match port.take() {
                    Some((published, Taken::Tcp(listener))) => {
                        accept(&listener, published.port, aim, &self.stop);
                        *port = Some((published, Taken::Tcp(listener)));
                    }
                    Some((published, Taken::Udp(socket))) => {
                        let _gone = epoll::delete(&self.epoll, &socket);
                        let (aim, stop) = (Arc::clone(aim), Arc::clone(&self.stop));
                        // Without a thread the port is dead, and says so to senders.
                        let carry = small_thread("datagrams").spawn(move || {
                            if go_home().is_err() {
                                return;
                            }
                            // What is lost of datagrams is the business of those who send them.
                            let _lost = datagrams::carry(&socket, &aim, published.port, &stop);
                        });
                        threads.extend(carry.ok());
                    }
                    None => {}
                }
            }
        }
        for thread in threads {
            let _ended = thread.join();
        }
    }
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The port `port` of the host, on all addresses that `wish` means; 0 takes a free one.
fn bound(wish: &PortWish, port: u16) -> Result<Vec<(Published, Taken)>, NetworkError> {
    let publish = |ip: IpAddr, port: u16| {
        let address = SocketAddr::new(ip, port);
        let failed = |source| NetworkError::Port { address, source };
        let taken = open(wish.protocol, address).map_err(failed)?;
        let host = match &taken {
            Taken::Tcp(listener) => listener.local_addr(),
            Taken::Udp(socket) => socket.local_addr(),
        };
        let host = host.map_err(failed)?;
        Ok((Published { port: wish.port, protocol: wish.protocol, host }, taken))
    };
    if let Some(ip) = wish.host_ip {
        return Ok(vec![publish(ip, port)?]);
    }
    let first = publish(ANY, port)?;
    let port = first.0.host.port();
    match publish(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port) {
        Ok(second) => Ok(vec![first, second]),
        // A host without IPv6.
        Err(NetworkError::Port { source, .. })
            if matches!(
                Errno::from_io_error(&source),
                Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            ) =>
        {
            Ok(vec![first])
        }
        Err(error) => Err(error),
    }
}

/// A socket on the host. One for IPv6 leaves IPv4 alone, which the standard library can't be told.
fn open(protocol: Protocol, address: SocketAddr) -> io::Result<Taken> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    // Nobody waits at a port whose client has gone meanwhile.
    let flags = match protocol {
        Protocol::Tcp => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Protocol::Udp => SocketFlags::CLOEXEC,
    };
    let fd = socket_with(family, kind, flags, None)?;
    if protocol == Protocol::Tcp {
        // Connections of the container's last life that are not quite over are in nobody's way.
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    bind(&fd, &address)?;
    Ok(match protocol {
        Protocol::Tcp => {
            listen(&fd, BACKLOG)?;
            Taken::Tcp(fd.into())
        }
        Protocol::Udp => Taken::Udp(fd.into()),
    })
}

/// Ports that lead somewhere, until dropped.
#[derive(Debug)]
pub struct Forwarding {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    aim: Aim,
    ports: Vec<Published>,
    state_dir: PathBuf,
    translation: Option<Translation>,
}

impl Forwarding {
    /// Leads the ports to other addresses from now on, or nowhere for now. Connections stay.
    pub fn redirect(&mut self, target: Option<Target>) {
        let mut aim = self.aim.lock().unwrap_or_else(PoisonError::into_inner);
        if *aim == target {
            return;
        }
        *aim = target;
        drop(aim);
        self.translation = None;
        if let Some(target) = target {
            let start = || Translation::start(target, &self.ports);
            // Where the kernel can't, everything goes by us.
            self.translation = bridge::beside(&self.state_dir, start).ok().flatten();
        }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // The counter is far from full; the threads that carry connections hear it, too.
        let _rings = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

fn small_thread(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// Waits until one of `fds` is ready; which of them are. Those that are absent are not waited for.
fn ready<const N: usize>(
    fds: [Option<(BorrowedFd<'_>, PollFlags)>; N],
) -> io::Result<[PollFlags; N]> {
    let present = fds.iter().flatten();
    let mut polled: Vec<_> =
        present.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
    let mut seen = polled.iter().map(PollFd::revents);
    Ok(fds.map(|fd| fd.and_then(|_| seen.next()).unwrap_or(PollFlags::empty())))
}

/// Accepts a connection, and has it carried.
fn accept(listener: &TcpListener, port: u16, aim: &Aim, stop: &Arc<OwnedFd>) {
    let client = match listener.accept() {
        Ok((client, _)) => client,
        // It has gone again.
        Err(error) if is_transient(&error) => return,
        Err(_) => {
            // No descriptor is left.
            thread::sleep(Duration::from_millis(10));
            return;
        }
    };
    let (aim, stop) = (Arc::clone(aim), Arc::clone(stop));
    let carry = move || {
        if go_home().is_err() {
            return;
        }
        // The client is told by the end of the connection.
        let _ended =
            aimed_at(&aim).and_then(|ip| connection(&client, SocketAddrV4::new(ip, port), &stop));
    };
    // Without a thread the connection ends at once.
    let _thread = small_thread("connection").spawn(carry);
}

/// What is on its way in one direction.
struct Flow {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Nothing more comes in.
    dry: bool,
    /// The other side knows that.
    closed: bool,
}

impl Flow {
    fn new() -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { buffer, start: 0, end: 0, dry: false, closed: false }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Moves what can be moved from `from` to `to`.
    fn pump(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        use io::{Read as _, Write as _};
        if self.is_empty() && !self.dry {
            match from.read(&mut self.buffer) {
                Ok(0) => self.dry = true,
                Ok(length) => (self.start, self.end) = (0, length),
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.is_empty() {
            match to.write(&self.buffer[self.start..self.end]) {
                Ok(length) => self.start += length,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.dry && self.is_empty() && !self.closed {
            self.closed = true;
            // It may have hung up altogether.
            let _gone = to.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Carries a connection until both directions have ended.
fn connection(client: &TcpStream, target: SocketAddrV4, stop: &OwnedFd) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&target.into(), PATIENCE)?;
    for stream in [client, &server] {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
    }
    let (mut there, mut back) = (Flow::new(), Flow::new());
    let mut hung_up = [false; 2];
    while !(there.closed && back.closed) {
        // poll(2) tells of a hang-up again and again, wanted or not: who has hung up and has nothing
        // to do meanwhile is left out, or waiting for the other side would keep a processor busy.
        let wants = |incoming: &Flow, outgoing: &Flow, hung_up: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, incoming.is_empty() && !incoming.dry);
            flags.set(PollFlags::OUT, !outgoing.is_empty());
            (!hung_up || !flags.is_empty()).then_some(flags)
        };
        let [client_gone, server_gone] = hung_up;
        let wanted = [
            wants(&there, &back, client_gone).map(|flags| (client.as_fd(), flags)),
            wants(&back, &there, server_gone).map(|flags| (server.as_fd(), flags)),
            Some((stop.as_fd(), PollFlags::IN)),
        ];
        let [at_client, at_server, stopped] = ready(wanted)?;
        let broken = PollFlags::ERR | PollFlags::NVAL;
        if !stopped.is_empty() || (at_client | at_server).intersects(broken) {
            return Ok(());
        }
        for (gone, seen) in hung_up.iter_mut().zip([at_client, at_server]) {
            *gone |= seen.contains(PollFlags::HUP);
        }
        there.pump(client, &server)?;
        back.pump(&server, client)?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustix::event::Timespec;

    use super::*;

    const HERE: Target = Target { v4: Ipv4Addr::LOCALHOST, v6: None };

    fn wish(port: u16, protocol: Protocol, host_ports: Option<(u16, u16)>) -> PortWish {
        PortWish { port, protocol, host_ip: Some(Ipv4Addr::LOCALHOST.into()), host_ports }
    }

    #[test]
    fn a_connection_is_carried_both_ways_and_each_way_ends_by_itself() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let ports = Ports::take(&[wish(port, Protocol::Tcp, None)]).unwrap();
        let address = ports.published()[0].host;
        let forwarding = ports.lead_to(HERE, Path::new("/nowhere"));
        let big = vec![7; 3 << 20];
        let echo = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&big).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == big);
        echo.join().unwrap();
        drop(forwarding);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn datagrams_find_their_way_back() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let ports = Ports::take(&[wish(port, Protocol::Udp, None)]).unwrap();
        let address = ports.published()[0].host;
        let _forwarding = ports.lead_to(HERE, Path::new("/nowhere"));
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..length], from).unwrap();
            }
        });
        for text in ["one", "two"] {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.send_to(text.as_bytes(), address).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (text.as_bytes(), address));
        }
    }

    /// The processor time of the calling thread, in hundredths of a second.
    fn used() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // proc(5): the 14th and the 15th field; what follows the name begins with the third.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    #[test]
    fn waiting_for_a_side_that_reads_nothing_takes_no_processor_time() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (front, server) = (listen(), listen());
        sockopt::set_socket_recv_buffer_size(&server, 4096).unwrap();
        let SocketAddr::V4(target) = server.local_addr().unwrap() else { unreachable!() };
        let mut client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let (accepted, _) = front.accept().unwrap();
        let seen = accepted.try_clone().unwrap();
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let stopped = Arc::clone(&stop);
        let carrying = thread::spawn(move || {
            connection(&accepted, target, &stopped).unwrap();
            used()
        });
        // The server says nothing more and listens no more, but stays.
        let (silent, _) = server.accept().unwrap();
        silent.shutdown(Shutdown::Write).unwrap();
        // Until what comes is left lying, all the time, since there is no room behind it.
        let lies = || seen.peek(&mut [0]).is_ok_and(|length| length > 0);
        let lies_long = || {
            (0..20).all(|_| {
                thread::sleep(Duration::from_millis(5));
                lies()
            })
        };
        client.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        while !lies_long() {
            client.write_all(&[7; 8 << 10]).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        let mut hang_up = [PollFd::new(&seen, PollFlags::empty())];
        poll(&mut hang_up, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap();
        assert!(hang_up[0].revents().contains(PollFlags::HUP), "the end was not seen");
        thread::sleep(Duration::from_secs(2));
        assert!(!carrying.is_finished(), "nothing was on its way any more");
        rustix::io::write(&*stop, &1u64.to_ne_bytes()).unwrap();
        let used = carrying.join().unwrap();
        assert!(used < 50, "{used} hundredths of a second of two");
    }

    #[test]
    fn a_port_of_a_range_is_taken_once() {
        let first = Ports::take(&[wish(80, Protocol::Tcp, None)]).unwrap();
        let taken = first.published()[0].host.port();
        let refused = Ports::take(&[wish(80, Protocol::Tcp, Some((taken, taken)))]).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains(&format!("127.0.0.1:{taken} failed: port is already alloc")),
            "{text}"
        );
        if taken < u16::MAX {
            let range = Some((taken, taken.saturating_add(50)));
            let second = Ports::take(&[wish(80, Protocol::Tcp, range)]).unwrap();
            assert!(second.published()[0].host.port() > taken);
        }
    }
}
