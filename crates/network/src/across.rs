//! Names of containers on other machines, on networks that span them.
//!
//! Nobody knows all names there: who holds a container hears what is asked on its networks, and answers
//! for it alone. Questions and answers are messages of DNS, questions sent to everybody on the network.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use crate::{Names, NetworkError, netns};

/// The port, of UDP, in the containers' namespaces.
const PORT: u16 = 5311;

/// How long somebody may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long it takes until a question is asked again: it may get lost.
const AGAIN: Duration = Duration::from_millis(100);

/// The longest message: all that fits a packet.
const MESSAGE: usize = 1500;

/// A container's ear and mouth on networks that span machines.
#[derive(Debug)]
pub(crate) struct Across {
    netns: OwnedFd,
    ear: UdpSocket,
}

/// A container's place on a network that spans machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its own address.
    pub own: Ipv4Addr,
    /// The address of everybody.
    pub everybody: Ipv4Addr,
}

impl Across {
    /// Listens in a namespace.
    pub(crate) fn open(netns: OwnedFd) -> Result<Self, NetworkError> {
        let failed = |source| NetworkError::Resolver { source };
        let ear = netns::inside(netns.as_fd(), || {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).map_err(failed)
        })?;
        Ok(Self { netns, ear })
    }

    /// Readable when somebody asks.
    pub(crate) fn ear(&self) -> &UdpSocket {
        &self.ear
    }

    /// Answers one question of somebody on these networks by what `answer` knows; what it does not is
    /// left to others.
    pub(crate) fn respond(&self, spans: &[Span], answer: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        let mut buffer = [0; MESSAGE];
        let Ok((length, sender)) = self.ear.recv_from(&mut buffer) else { return };
        // Neither of a network that ends here, nor our own.
        let own = |span: &Span| IpAddr::from(span.own) == sender.ip();
        if spans.is_empty() || spans.iter().any(own) {
            return;
        }
        if let Some(answer) = answer(&buffer[..length]) {
            let _lost = self.ear.send_to(&answer, sender);
        }
    }

    /// What somebody else on these networks answers.
    pub(crate) fn ask(&self, question: &[u8], spans: &[Span]) -> Option<Vec<u8>> {
        spans.iter().find_map(|span| self.ask_on(question, *span).ok())
    }

    fn ask_on(&self, question: &[u8], span: Span) -> io::Result<Vec<u8>> {
        let open = || {
            let failed = |source| NetworkError::Resolver { source };
            UdpSocket::bind((span.own, 0)).map_err(failed)
        };
        let socket = netns::inside(self.netns.as_fd(), open).map_err(io::Error::other)?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(AGAIN))?;
        let end = Instant::now() + PATIENCE;
        let mut answer = vec![0; MESSAGE];
        while Instant::now() < end {
            socket.send_to(question, (span.everybody, PORT))?;
            match socket.recv(&mut answer) {
                // The identification of RFC 1035: what answers another question is not for us.
                Ok(length) if length >= 2 && answer[..2] == question[..2] => {
                    answer.truncate(length);
                    return Ok(answer);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Whether a name may be that of a container on another machine: it has no dot, or the name of a
/// network behind its first one.
pub(crate) fn may_be_there(name: &str, names: &dyn Names) -> bool {
    name.split_once('.').is_none_or(|(_, network)| names.is_network(network))
}
