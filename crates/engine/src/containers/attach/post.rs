//! Where the holder of a container hears from others.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use super::wire::{Listener, Message, Socket};
use crate::containers::Exit;

/// Everybody who may talk to the holder of a container, or of a command in it.
#[derive(Debug)]
pub(in crate::containers) struct Post {
    listener: Option<Listener>,
    visitors: Vec<Socket>,
    /// What is held goes with its visitor.
    is_bound: bool,
}

/// What somebody wants of the holder.
#[derive(Debug)]
pub(in crate::containers) enum Request {
    /// To read what the container writes, and to write what it reads.
    Attach(Visit),
    /// Another size of the terminal.
    Resize { rows: u16, columns: u16 },
    /// A signal for the container.
    Signal(i32),
    /// A look at the networks of the container.
    Refresh,
}

/// The streams of somebody who attaches.
#[derive(Debug, Default)]
pub(in crate::containers) struct Visit {
    /// To read from.
    pub stdin: Option<OwnedFd>,
    /// To write to.
    pub stdout: Option<OwnedFd>,
    /// To write to.
    pub stderr: Option<OwnedFd>,
    /// Height and width of a terminal.
    pub size: Option<(u16, u16)>,
}

impl Post {
    /// Opens it in the directory of a container. To be called by its holder alone.
    pub(in crate::containers) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self { listener: Some(Listener::open(dir)?), visitors: Vec::new(), is_bound: false })
    }

    /// One for a single visitor: who is gone without having left takes along what is held.
    pub(in crate::containers) fn of_one() -> Self {
        Self { listener: None, visitors: Vec::new(), is_bound: true }
    }

    /// Waits for the streams of `visitor`, who was there before the container runs.
    pub(in crate::containers) fn welcome(&mut self, visitor: Socket) -> io::Result<Visit> {
        let first = visitor.receive(true)?.and_then(|(message, fds)| request(message, fds));
        self.visitors.push(visitor);
        Ok(match first {
            Some(Request::Attach(visit)) => visit,
            _ => Visit::default(),
        })
    }

    /// What is ready to be read when there are [`requests`](Self::requests).
    pub(in crate::containers) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let visitors = self.visitors.iter().map(|visitor| PollFd::new(visitor, PollFlags::IN));
        let listener = self.listener.iter().map(|listener| PollFd::new(listener, PollFlags::IN));
        listener.chain(visitors)
    }

    /// What has been asked since the last time.
    pub(in crate::containers) fn requests(&mut self) -> Vec<Request> {
        if let Some(listener) = &self.listener {
            self.visitors.extend(std::iter::from_fn(|| listener.accept()));
        }
        let mut requests = Vec::new();
        let is_bound = &mut self.is_bound;
        self.visitors.retain(|visitor| {
            loop {
                match visitor.receive(false) {
                    Ok(Some((Message::Leave, _))) => *is_bound = false,
                    Ok(Some((message, fds))) => requests.extend(request(message, fds)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                    // Gone, or not one of us.
                    Ok(None) | Err(_) => {
                        requests.extend(is_bound.then_some(Request::Signal(Signal::KILL.as_raw())));
                        return false;
                    }
                }
            }
        });
        requests
    }

    /// Tells those who have asked for it that the networks were looked at.
    pub(in crate::containers) fn refreshed(&mut self) {
        // Everybody else takes no notice.
        for visitor in &self.visitors {
            let _gone = visitor.send(&Message::Refresh, &[]);
        }
    }

    /// Tells all who are there how the container ended, and lets them go.
    pub(in crate::containers) fn dismiss(&mut self, exit: Exit) {
        for visitor in self.visitors.drain(..) {
            // Whoever is gone already need not know.
            let _gone = visitor.send(&Message::Ended(exit), &[]);
        }
    }
}

fn request(message: Message, descriptors: Vec<OwnedFd>) -> Option<Request> {
    let mut descriptors = descriptors.into_iter();
    match message {
        Message::Attach { stdin, stdout, stderr, size } => {
            let mut stream = |given: bool| given.then(|| descriptors.next()).flatten();
            let (stdin, stdout, stderr) = (stream(stdin), stream(stdout), stream(stderr));
            Some(Request::Attach(Visit { stdin, stdout, stderr, size }))
        }
        Message::Resize { rows, columns } => Some(Request::Resize { rows, columns }),
        Message::Signal(signal) => Some(Request::Signal(signal)),
        Message::Refresh => Some(Request::Refresh),
        Message::Exec | Message::Leave | Message::Ended(_) => None,
    }
}
