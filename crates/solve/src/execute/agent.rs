//! A door to an SSH agent, for one step.
//!
//! The step gets a socket of its own, with the owner and mode it asks for. What may pass is to list
//! keys and to sign with them: a step cannot add keys to somebody's agent, take them away or lock
//! it. The protocol is that of draft-ietf-sshm-ssh-agent.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// The largest message; OpenSSH has the same limit, bytes.
const LARGEST: u32 = 256 * 1024;

/// How many connections a step has at once; more of them find themselves closed. Each takes a thread.
const CONNECTIONS: usize = 64;

/// Requests that change nothing: list the keys, sign, and extensions, which bind a connection to a
/// host or ask what is understood.
const ALLOWED: [u8; 3] = [11, 13, 27];

/// The agent's answer to what it does not do: a message of one byte.
const REFUSED: &[u8] = &[0, 0, 0, 1, 5];

/// An open door; closed when dropped.
#[derive(Debug)]
pub(super) struct Door {
    close: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Makes the socket `door`, which leads to the agent at `agent`.
    pub(super) fn open(agent: PathBuf, door: &Path) -> io::Result<Self> {
        let listener = short(door, |path| UnixListener::bind(path))?;
        listener.set_nonblocking(true)?;
        let close = eventfd(0, EventfdFlags::CLOEXEC)?;
        let closed = close.try_clone()?;
        let agent = Arc::new(agent);
        let thread = thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
            while let Ok(Some(client)) = next(&listener, &closed) {
                // Every connection has a share of it, and so have we.
                if Arc::strong_count(&agent) > CONNECTIONS {
                    continue;
                }
                let agent = Arc::clone(&agent);
                // It ends with the client's side, which the end of the step closes. A client
                // that gets no thread finds its connection closed.
                let _ = thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || {
                    // Whatever fails, the client finds its connection closed.
                    let _ = serve(client, &agent);
                });
            }
        })?;
        Ok(Self { close, thread: Some(thread) })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from full.
        let _ = rustix::io::write(&self.close, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The next client; none when the door is closed.
fn next(listener: &UnixListener, closed: &OwnedFd) -> io::Result<Option<UnixStream>> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(closed, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if !fds[1].revents().is_empty() {
            return Ok(None);
        }
        match listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(false)?;
                return Ok(Some(client));
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Carries requests and answers until the client has had enough.
fn serve(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    let mut agent = short(agent, |path| UnixStream::connect(path))?;
    while let Some(request) = message(&mut client)? {
        if request.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            agent.write_all(&request)?;
            match message(&mut agent)? {
                Some(answer) => client.write_all(&answer)?,
                None => return Ok(()),
            }
        } else {
            client.write_all(REFUSED)?;
        }
    }
    Ok(())
}

/// One message with its length in front; none at the end.
fn message(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let size = u32::from_be_bytes(length);
    if size > LARGEST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut message = length.to_vec();
    message.resize(4 + size as usize, 0);
    from.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

/// Does something with the socket at `path`, which may be longer than an address has room for.
fn short<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return with(path) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let dir = File::open(dir)?;
    with(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    /// An agent that answers every request with its own bytes.
    fn echo(path: &Path) {
        let listener = short(path, |path| UnixListener::bind(path)).unwrap();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while let Some(request) = message(&mut client).unwrap() {
                client.write_all(&request).unwrap();
            }
        });
    }

    #[test]
    fn listing_and_signing_pass_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than any address of a socket.
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let (agent, door) = (deep.join("agent"), deep.join("door"));
        echo(&agent);
        let open = Door::open(agent, &door).unwrap();
        let mut client = short(&door, |path| UnixStream::connect(path)).unwrap();
        for (kind, passes) in [(11, true), (17, false), (13, true), (19, false), (22, false)] {
            let request = [0, 0, 0, 3, kind, 1, 2];
            client.write_all(&request).unwrap();
            let answer = message(&mut client).unwrap().unwrap();
            assert_eq!(answer, if passes { &request } else { REFUSED });
        }
        drop(open);
        assert!(short(&door, |path| UnixStream::connect(path)).is_err());
    }

    #[test]
    fn connections_are_limited() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, door) = (dir.path().join("agent"), dir.path().join("door"));
        let _agent = UnixListener::bind(&agent).unwrap();
        let _open = Door::open(agent, &door).unwrap();
        let ask = || {
            let mut client = short(&door, |path| UnixStream::connect(path)).unwrap();
            let _ = client.write_all(&[0, 0, 0, 1, 17]);
            let is_served = message(&mut client).is_ok_and(|answer| answer.is_some());
            is_served.then_some(client)
        };
        let others: Vec<_> = (0..CONNECTIONS).map(|_| ask().unwrap()).collect();
        assert!(ask().is_none());
        drop(others);
    }
}
