//! Writing behind, so that what takes the bytes works at the same time as what makes them.

use std::io::{self, Read, Sink, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bld_oci::{Digest, HashingWriter};

/// Bytes per buffer, and how many of them wait to be written.
const BUFFER: usize = 256 * 1024;
const DEPTH: usize = 4;

/// Writes to `W` on a thread of its own, at most about a megabyte behind. What fits into one
/// buffer never starts a thread.
pub struct WriteBehind<W> {
    buffer: Vec<u8>,
    state: State<W>,
}

enum State<W> {
    /// No buffer was full yet.
    Idle(W),
    Running(SyncSender<Vec<u8>>, JoinHandle<(W, io::Result<()>)>),
    /// The thread has failed, and its error was returned.
    Failed,
}

impl<W: Write + Send + 'static> WriteBehind<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { buffer: Vec::new(), state: State::Idle(out) }
    }

    /// Waits until everything is written, and returns the writer, which is not flushed.
    ///
    /// # Errors
    /// What the writer met, unless an earlier call returned it.
    pub fn finish(mut self) -> io::Result<W> {
        match self.state {
            State::Idle(mut out) => out.write_all(&self.buffer).map(|()| out),
            State::Running(sender, thread) => {
                // The thread only goes away early with an error, which joining it tells.
                let _ = sender.send(std::mem::take(&mut self.buffer));
                drop(sender);
                join(thread)
            }
            State::Failed => Err(failed()),
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let buffer = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(out) => {
                let (sender, thread) = start(out)?;
                State::Running(sender, thread)
            }
            state => state,
        };
        let State::Running(sender, _) = &self.state else { return Err(failed()) };
        if sender.send(buffer).is_ok() {
            return Ok(());
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Running(_, thread) => join(thread).and(Err(failed())),
            _ => Err(failed()),
        }
    }
}

impl<W: Write + Send + 'static> Write for WriteBehind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == BUFFER {
            self.pass_on()?;
        }
        let taken = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: only [`finish`](Self::finish) knows that everything was written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads through, and hashes and counts what is read on a thread of its own, so that what decompresses
/// does not have to hash as well.
pub struct HashBehind<R> {
    inner: R,
    hash: WriteBehind<HashingWriter<Sink>>,
}

impl<R> HashBehind<R> {
    /// Wraps `inner`; the digest covers what is read from here on.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: WriteBehind::new(HashingWriter::new(io::sink())) }
    }

    /// The digest and number of the bytes that were read.
    ///
    /// # Errors
    /// When the thread panicked.
    pub fn finish(self) -> io::Result<(Digest, u64)> {
        let (_, digest, count) = self.hash.finish()?.finish();
        Ok((digest, count))
    }
}

impl<R: Read> Read for HashBehind<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.write_all(&buffer[..read])?;
        Ok(read)
    }
}

type Thread<W> = JoinHandle<(W, io::Result<()>)>;

fn start<W: Write + Send + 'static>(mut out: W) -> io::Result<(SyncSender<Vec<u8>>, Thread<W>)> {
    let (sender, receiver) = sync_channel::<Vec<u8>>(DEPTH);
    let write = move || {
        let result = receiver.iter().try_for_each(|buffer| out.write_all(&buffer));
        (out, result)
    };
    let thread = std::thread::Builder::new().name("write-behind".to_owned()).spawn(write)?;
    Ok((sender, thread))
}

fn join<W>(thread: Thread<W>) -> io::Result<W> {
    let (out, result) =
        thread.join().map_err(|_| io::Error::other("the writing thread panicked"))?;
    result.map(|()| out)
}

fn failed() -> io::Error {
    io::Error::other("writing failed before")
}
