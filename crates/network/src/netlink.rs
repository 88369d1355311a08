//! Just enough of the netlink wire format (netlink(7), rtnetlink(7)): requests, answers, attributes.
//!
//! Blocking and without a runtime: the half dozen requests this crate makes are answered by the
//! kernel before `send` returns.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt::SndBufForce,
    },
};

const HEADER: usize = 16;
/// The kernel packs at most 32 KiB of a dump into one datagram.
const BUFFER: usize = 64 * 1024;

/// A flag of an attribute's type: it is made of attributes.
pub(crate) const NESTED: u16 = 1 << 15;

/// Messages of this many bytes fit every socket; for more the room is made larger.
const ROOM: usize = 64 * 1024;

/// A request under construction: header, fixed part, attributes.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request of message type `kind`, which the kernel is asked to acknowledge.
    pub(crate) fn new(kind: u16, flags: libc::c_int) -> Self {
        Self::quiet(kind, flags | libc::NLM_F_ACK)
    }

    /// A request that is answered only when it fails.
    pub(crate) fn quiet(kind: u16, flags: libc::c_int) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]); // length, known when it is sent
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]); // sequence number, port
        Self(bytes)
    }

    /// Appends a part of fixed layout.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.pad();
        self
    }

    /// Appends an `ifinfomsg`: which link, and the flags to set.
    pub(crate) fn link(self, index: u32, flags: libc::c_int) -> Self {
        self.raw(&[0; 4]) // family, padding, device type
            .raw(&index.to_ne_bytes())
            .raw(&flags.to_ne_bytes())
            .raw(&flags.to_ne_bytes()) // the mask of flags to change
    }

    pub(crate) fn attr(mut self, kind: u16, data: &[u8]) -> Self {
        self.0.extend(((data.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(data);
        self.pad();
        self
    }

    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    pub(crate) fn number(self, kind: u16, number: u32) -> Self {
        self.attr(kind, &number.to_ne_bytes())
    }

    /// As [`number`](Self::number), in the order of the network.
    pub(crate) fn big(self, kind: u16, number: u32) -> Self {
        self.attr(kind, &number.to_be_bytes())
    }

    /// Appends what `fill` does.
    pub(crate) fn extend(&mut self, fill: impl FnOnce(Self) -> Self) {
        *self = fill(Self(std::mem::take(&mut self.0)));
    }

    /// Asks the kernel to acknowledge it.
    fn acknowledged(mut self) -> Self {
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | libc::NLM_F_ACK as u16;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// The finished bytes.
    fn finished(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }

    /// Appends an attribute made of what `fill` appends.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.0.len() - start) as u16;
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// A netlink socket; it belongs to the network namespace of the thread that opened it, for ever.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket for links, addresses and routes.
    pub(crate) fn route() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for the firewall.
    pub(crate) fn netfilter() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Errno> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(fd))
    }

    /// Sends one request and returns the payloads of its answers, acknowledgement left out.
    pub(crate) fn call(&self, message: Message) -> Result<Vec<Vec<u8>>, Errno> {
        let message = message.finished();
        retry(|| send(self.0.as_raw_fd(), &message, MsgFlags::empty()))?;
        self.answers()
    }

    /// Sends messages that take effect together, between those that say where they begin and end. Those
    /// that fail are answered in their order, and the last one is acknowledged after all others.
    pub(crate) fn batch(
        &self,
        begin: Message,
        mut messages: Vec<Message>,
        end: Message,
    ) -> Result<(), Errno> {
        let last = messages.pop().map(Message::acknowledged);
        let all = std::iter::once(begin).chain(messages).chain(last).chain([end]);
        let bytes: Vec<u8> = all.flat_map(Message::finished).collect();
        if bytes.len() > ROOM {
            setsockopt(&self.0, SndBufForce, &(2 * bytes.len()))?;
        }
        retry(|| send(self.0.as_raw_fd(), &bytes, MsgFlags::empty()))?;
        self.answers().map(drop)
    }

    /// Receives up to the acknowledgement.
    fn answers(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut answers = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = retry(|| recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()))?;
            let mut rest = &buffer[..read];
            while rest.len() >= HEADER {
                let length = number(rest) as usize;
                if length < HEADER || length > rest.len() {
                    return Err(Errno::EBADMSG);
                }
                let payload = &rest[HEADER..length];
                match libc::c_int::from(u16::from_ne_bytes([rest[4], rest[5]])) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        // A negated errno; zero is the acknowledgement.
                        return match number(payload) as i32 {
                            0 => Ok(answers),
                            code => Err(Errno::from_raw(-code)),
                        };
                    }
                    libc::NLMSG_NOOP => {}
                    _ => answers.push(payload.to_vec()),
                }
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// The attribute `kind` in `attributes`, which is an answer's payload after its fixed part.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let found = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff; // without the two flag bits
        if length < 4 || length > rest.len() {
            return None;
        }
        if found == kind {
            return Some(&rest[4..length]);
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    None
}

/// The first four bytes as a number in this machine's order; zero when there are fewer.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_nested_and_found() {
        let message = Message::new(1, 0).text(3, "ab").nest(7, |m| m.number(1, 9).text(2, "xyz"));
        let attributes = &message.0[HEADER..];
        assert_eq!(attributes.len() % 4, 0);
        assert_eq!(find(attributes, 3), Some(&b"ab\0"[..]));
        let nested = find(attributes, 7).unwrap_or_default();
        assert_eq!(find(nested, 1).map(number), Some(9));
        assert_eq!(find(nested, 2), Some(&b"xyz\0"[..]));
        assert_eq!(find(attributes, 8), None);
    }

    #[test]
    fn torn_attributes_end_the_search() {
        assert_eq!(find(&[200, 0, 1, 0, 5], 1), None);
        assert_eq!(find(&[0, 0, 1, 0], 1), None);
        assert_eq!(number(&[1, 2]), 0);
    }
}
