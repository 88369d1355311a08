//! A command on a terminal in a container, which somebody may leave and which runs on then.
//!
//! It is held by a process of its own, like a detached container, and with the same conversation: our
//! ends of its streams are pipes. Who is gone without having left takes it along.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::os::fd::AsFd as _;

use rustix::fs::{MemfdFlags, memfd_create};

use super::attach::{self, Departure, DetachKeys, Message, Post, Socket, Visiting};
use super::control::Control;
use super::exec::{ExecRequest, Told};
use super::relay::Io;
use super::streams::Streams;
use super::supervise::Exit;
use crate::error::IoContext as _;
use crate::{Engine, Result};

/// How a command has ended whose holder was killed: with it.
const KILLED: Exit = Exit { code: 128 + 9, oom_killed: false };

impl Engine {
    /// Runs a command on a terminal in a running container until it ends or `keys` are typed. It dies
    /// with this process otherwise.
    ///
    /// # Errors
    /// As [`exec_container`](Self::exec_container).
    pub fn exec_attached(
        &self,
        request: &ExecRequest,
        io: Io,
        control: &Control,
        keys: DetachKeys,
    ) -> Result<Departure> {
        let container = self.find_container(&request.container)?;
        let failed = "run a command in";
        let (socket, theirs) = Socket::pair().at(failed, &container.name)?;
        // What is wished for may be longer than a message, and is nobody else's to read.
        let wish = memfd_create("exec", MemfdFlags::CLOEXEC).map(File::from);
        let mut wish = wish.at(failed, &container.name)?;
        let text = serde_json::to_vec(request).map_err(std::io::Error::from);
        text.and_then(|text| wish.write_all(&text)).at(failed, &container.name)?;
        socket.send(&Message::Exec, &[wish.as_fd()]).at(failed, &container.name)?;
        let visit = Visiting::begin(&socket, io, Some(keys)).at(failed, &container.name)?;
        super::monitor::launch_exec(self, &container, theirs)?;
        visit.stay(self, &container, &socket, control, &|| Ok(Departure::Ended(KILLED)))
    }

    /// Holds a command in the container `id` until its end; `started` is called when it runs.
    pub(super) fn hold_exec(
        &self,
        id: &str,
        visitor: Socket,
        control: &Control,
        started: &mut dyn FnMut(),
    ) -> Result<()> {
        let what = "what is to run";
        let wish = match visitor.receive(true).at("receive", what)? {
            Some((Message::Exec, wish)) => wish.into_iter().next(),
            _ => None,
        };
        let wish = wish.ok_or(std::io::Error::from(std::io::ErrorKind::InvalidData));
        let wish = wish.at("receive", what)?;
        let mut wish = File::from(wish);
        std::io::Seek::rewind(&mut wish).at("read", what)?;
        let request: std::io::Result<ExecRequest> =
            serde_json::from_reader(BufReader::new(wish)).map_err(Into::into);
        let request = request.at("read", what)?;
        let container = self.find_container(id)?;
        let told = Told::new(&container, &request)?;
        let mut post = Post::of_one();
        let io = attach::io_of(post.welcome(visitor).at("receive", what)?);
        let (stdio, streams) = Streams::open(request.tty, request.open_stdin, io.size)?;
        let mut process = self.exec(&container, &request, stdio, true)?;
        self.announce(told.begun());
        started();
        let mut relays = streams.carry(&mut process, io, None)?;
        let status = relays.attend(&mut process, control, Some(&mut post), &mut || {})?;
        relays.finish();
        self.announce([told.ended(status.code)]);
        post.dismiss(Exit { code: status.code, oom_killed: status.oom_killed });
        Ok(())
    }
}
