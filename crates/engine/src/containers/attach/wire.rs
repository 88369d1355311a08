//! What those who attach to a container and its holder say to each other.
//!
//! They talk over a socket that keeps messages apart (`SOCK_SEQPACKET`, unix(7)), one JSON object
//! each. The streams themselves are pipes whose other ends travel along as descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recvmsg, sendmsg, socket_with, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::containers::Exit;

/// The name of the socket in a container's directory.
const NAME: &str = "attach";

/// More than the longest message has.
const LONGEST: usize = 4096;

/// The most descriptors a message brings: one for each standard stream.
const DESCRIPTORS: usize = 3;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::containers) enum Message {
    /// Somebody attaches, with a descriptor for each stream that is said to be there, in this
    /// order: the input to read from, the output and the error output to write to.
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
        /// Height and width of a terminal.
        size: Option<(u16, u16)>,
    },
    /// The terminal has another size.
    Resize { rows: u16, columns: u16 },
    /// The container is to get a signal.
    Signal(i32),
    /// A command is to run in the container; a file with what is wished for comes along.
    Exec,
    /// Somebody leaves, and it is to run on.
    Leave,
    /// The networks of the container have changed; the holder answers when it has seen to that.
    Refresh,
    /// The holder says: this is how it ended, and all that it wrote has been written.
    Ended(Exit),
}

/// One end of a conversation.
#[derive(Debug)]
pub(in crate::containers) struct Socket(OwnedFd);

impl Socket {
    /// Two that talk to each other.
    pub(in crate::containers) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// To whoever holds the container whose directory is `dir`.
    pub(in crate::containers) fn connect(dir: &Path) -> io::Result<Self> {
        let socket = new_socket(SocketFlags::CLOEXEC)?;
        at(dir, |address| connect(&socket, address))?;
        Ok(Self(socket))
    }

    pub(in crate::containers) fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message with its descriptors; none when the other one is gone. With `wait` it is
    /// waited for, otherwise the error is [`WouldBlock`](io::ErrorKind::WouldBlock).
    pub(in crate::containers) fn receive(
        &self,
        wait: bool,
    ) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut text = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        flags.set(RecvFlags::DONTWAIT, !wait);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, flags)
        })?;
        let descriptors: Vec<_> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match received.bytes {
            0 => Ok(None),
            length => Ok(Some((serde_json::from_slice(&text[..length])?, descriptors))),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

/// Where others can connect to.
#[derive(Debug)]
pub(in crate::containers) struct Listener(OwnedFd);

impl Listener {
    /// Takes the place of one that was left behind. To be called by the holder alone.
    pub(in crate::containers) fn open(dir: &Path) -> io::Result<Self> {
        match std::fs::remove_file(dir.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = new_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        at(dir, |address| bind(&socket, address))?;
        listen(&socket, 16)?;
        Ok(Self(socket))
    }

    /// Who has connected; none when nobody has.
    pub(in crate::containers) fn accept(&self) -> Option<Socket> {
        // Whoever has gone again in between is nobody, too.
        accept_with(&self.0, SocketFlags::CLOEXEC).ok().map(Socket)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn new_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Does something with the socket's address in `dir`, whose path may be longer than the 108 bytes
/// that an address has.
fn at(dir: &Path, work: impl FnOnce(&SocketAddrUnix) -> Result<(), Errno>) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd());
    Ok(work(&SocketAddrUnix::new(path)?)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_with_their_descriptors_whatever_the_path() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("x".repeat(200));
        std::fs::create_dir(&dir).unwrap();
        // Left behind by somebody who was killed.
        drop(Listener::open(&dir).unwrap());
        let listener = Listener::open(&dir).unwrap();
        let ours = Socket::connect(&dir).unwrap();
        let theirs = listener.accept().unwrap();
        let message =
            Message::Attach { stdin: false, stdout: true, stderr: false, size: Some((24, 80)) };
        let (read, write) = rustix::pipe::pipe().unwrap();
        ours.send(&message, &[write.as_fd()]).unwrap();
        drop(write);
        let (received, descriptors) = theirs.receive(true).unwrap().unwrap();
        assert_eq!(received, message);
        rustix::io::write(&descriptors[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 2]).unwrap(), 1);
        assert_eq!(theirs.receive(false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert!(theirs.receive(false).unwrap().is_none());
        assert!(listener.accept().is_none());
    }
}
