//! Datagrams, each sender's by a socket of its own, so that answers find their way back.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::{Aim, aimed_at};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The longest datagram.
const DATAGRAM: usize = 64 << 10;

/// How long a sender is remembered after its last datagram.
const QUIET: Duration = Duration::from_secs(90);

/// How often senders are looked at.
const MOMENT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The most senders that are remembered. Each has a descriptor, of which a process usually has 1024,
/// and anybody can pretend to be many.
const SENDERS: usize = 512;

/// Carries datagrams to `port` of where `aim` leads, and the answers back to whom they are for.
pub(super) fn carry(host: &UdpSocket, aim: &Aim, port: u16, stop: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM];
    let mut senders = Senders::new(aim, port, SENDERS);
    loop {
        let mut fds = vec![PollFd::new(host, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        let order: Vec<SocketAddr> = senders.known.keys().copied().collect();
        for (socket, _) in senders.known.values() {
            fds.push(PollFd::new(socket, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&MOMENT)))?;
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if came[1] {
            return Ok(());
        }
        for sender in order.iter().zip(&came[2..]).filter(|(_, came)| **came).map(|(s, _)| s) {
            if let Some((socket, last)) = senders.known.get_mut(sender)
                && let Ok(length) = socket.recv(&mut buffer)
            {
                *last = Instant::now();
                let _lost = host.send_to(&buffer[..length], sender);
            }
        }
        if came[0]
            && let Ok((length, sender)) = host.recv_from(&mut buffer)
            // One that can't be carried is lost, as datagrams are; the port stays.
            && let Ok(socket) = senders.socket(sender)
        {
            let _lost = socket.send(&buffer[..length]);
        }
        senders.known.retain(|_, (_, last)| last.elapsed() < QUIET);
    }
}

/// Those who sent datagrams lately: by which socket these went on, and when the last one came or was
/// answered.
struct Senders<'a> {
    known: HashMap<SocketAddr, (UdpSocket, Instant)>,
    aim: &'a Aim,
    port: u16,
    most: usize,
}

impl<'a> Senders<'a> {
    fn new(aim: &'a Aim, port: u16, most: usize) -> Self {
        Self { known: HashMap::new(), aim, port, most }
    }

    /// The socket of a sender. For a new one, whoever was quiet for longest is forgotten where there
    /// is no room.
    fn socket(&mut self, sender: SocketAddr) -> io::Result<&UdpSocket> {
        if !self.known.contains_key(&sender) {
            if self.known.len() >= self.most {
                self.forget_quietest();
            }
            let socket = self.open().or_else(|error| match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE) if self.forget_quietest() => self.open(),
                _ => Err(error),
            })?;
            self.known.insert(sender, (socket, Instant::now()));
        }
        let (socket, last) = self.known.get_mut(&sender).ok_or(io::ErrorKind::NotFound)?;
        *last = Instant::now();
        Ok(socket)
    }

    fn open(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(SocketAddrV4::new(aimed_at(self.aim)?, self.port))?;
        Ok(socket)
    }

    /// Whether there was anybody to forget.
    fn forget_quietest(&mut self) -> bool {
        let quietest = self.known.iter().min_by_key(|(_, (_, last))| *last);
        let quietest = quietest.map(|(sender, _)| *sender);
        quietest.and_then(|sender| self.known.remove(&sender)).is_some()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_quiet_for_longest_makes_room_for_others() {
        let aim = Aim::default();
        *aim.lock().unwrap() = Some(crate::Target { v4: Ipv4Addr::LOCALHOST, v6: None });
        let mut senders = Senders::new(&aim, 9, 3);
        let sender = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for port in [1, 2, 3, 1, 4, 1, 5] {
            senders.socket(sender(port)).unwrap();
        }
        let mut known: Vec<_> = senders.known.keys().map(SocketAddr::port).collect();
        known.sort_unstable();
        assert_eq!(known, [1, 4, 5]);
    }
}
