//! Carrying bytes between a container and whoever runs it.
//!
//! Output has a thread for each stream, so that a slow reader of one never holds up the other, nor
//! the signals that the holder passes on.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bld_event::Stream;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::attach::DetachKeys;
use super::logs::LogWriter;

/// Where a container's standard streams lead, besides its log.
#[derive(Default)]
pub struct Io {
    /// Read and handed to the container; without it, the container sees an empty input.
    pub stdin: Option<OwnedFd>,
    /// Gets what the container writes; with a terminal, everything it writes.
    pub stdout: Option<Box<dyn Write + Send>>,
    /// Gets what the container writes to its standard error.
    pub stderr: Option<Box<dyn Write + Send>>,
    /// Height and width of the terminal at the start, when known.
    pub size: Option<(u16, u16)>,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .finish_non_exhaustive()
    }
}

/// Gets what a container writes.
type Sink = Box<dyn Write + Send>;

/// Those who get what a container writes to one of its streams; more may come.
#[derive(Clone)]
pub(super) struct Sinks(Arc<Mutex<Vec<Sink>>>);

impl Sinks {
    pub(super) fn new(first: Option<Sink>) -> Self {
        Self(Arc::new(Mutex::new(first.into_iter().collect())))
    }

    /// From the next byte on, `sink` gets what is written as well.
    pub(super) fn add(&self, sink: Sink) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
    }

    /// Those who have come since the last time.
    fn newcomers(&self) -> Vec<Sink> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A log that several streams write to; none when nothing is to be kept.
pub(super) type SharedLog = Arc<Mutex<Option<LogWriter>>>;

/// Rings once, for everyone who listens, and never stops.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// A bell that has not rung.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Rings.
    pub(super) fn ring(&self) {
        // Cannot fail: the counter is far from full.
        let _rings = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Carries what a process writes to `from` until nobody can write there any more, or until `ended`
/// has rung and nothing is left to read: what the process has started may live on and write.
pub(super) fn output(
    from: OwnedFd,
    stream: Stream,
    to: Sinks,
    log: SharedLog,
    ended: Bell,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("container-output".to_owned()).spawn(move || {
        let mut from = File::from(from);
        let mut buffer = vec![0; 64 << 10];
        // Taken out of what is shared: one who reads slowly holds up nobody who wants to join.
        let mut sinks = Vec::new();
        while is_readable(&from, &ended) {
            let data = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A terminal whose last user is gone gives EIO.
                Err(_) => break,
            };
            sinks.extend(to.newcomers());
            // One that nobody reads any more goes; the container goes on, and so does its log.
            sinks.retain_mut(|sink| sink.write_all(data).and_then(|()| sink.flush()).is_ok());
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(writer) = &mut *log
                && writer.write(stream, data).is_err()
            {
                // A full disk must not stop the container.
                *log = None;
            }
        }
    })
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until there is something to read, or no more will come.
fn is_readable(from: &File, ended: &Bell) -> bool {
    loop {
        let mut fds = [PollFd::new(from, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return !fds[0].revents().is_empty(),
        }
    }
}

/// A running copy of standard input; ends when dropped.
pub(super) struct Input {
    stop: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Input {
    /// Carries `from` to the container. At the end of `from` the container's side is closed, too,
    /// unless somebody else has it. When the detach keys are typed it ends, and the bell rings.
    pub(super) fn start(
        from: OwnedFd,
        to: Arc<OwnedFd>,
        mut keys: Option<(DetachKeys, Bell)>,
    ) -> io::Result<Self> {
        let stop = Bell::new()?;
        let stopped = stop.clone();
        let thread =
            thread::Builder::new().name("container-input".to_owned()).spawn(move || {
                let watched = keys.as_mut().map(|(keys, _)| keys);
                // However else it ends, there is nobody to tell: the container sees the end of its
                // input.
                let left = carry(&from, &to, &stopped, watched).unwrap_or(false);
                if let Some((_, bell)) = keys.filter(|_| left) {
                    bell.ring();
                }
            })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// Carries until either side ends or `stop` rings; whether it was by the detach keys.
fn carry(
    from: &OwnedFd,
    to: &OwnedFd,
    stop: &Bell,
    mut keys: Option<&mut DetachKeys>,
) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut fds = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
            // Asked for nothing, this one only tells that the container's end is closed.
            PollFd::new(to, PollFlags::empty()),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if !fds[1].revents().is_empty() || !fds[2].revents().is_empty() {
            return Ok(false);
        }
        let length = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        };
        match keys.as_mut().map(|keys| keys.filter(&buffer[..length])) {
            Some((_, true)) => return Ok(true),
            Some((data, false)) => write_all(to, &data)?,
            None => write_all(to, &buffer[..length])?,
        }
    }
}

fn write_all(to: &OwnedFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, data))? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => data = &data[written..],
        }
    }
    Ok(())
}

impl Drop for Input {
    fn drop(&mut self) {
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
