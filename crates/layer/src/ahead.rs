//! Reading ahead, so that decompressing one part overlaps with writing out another.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Bytes per buffer, and how many of them wait to be taken.
const BUFFER: usize = 256 * 1024;
const DEPTH: usize = 4;

/// Reads `reader` on a thread of its own, at most about a megabyte ahead.
///
/// When the result is dropped early, the thread ends after the read it is in.
///
/// # Errors
/// When no thread can be started.
pub fn read_ahead<R: Read + Send + 'static>(reader: R) -> io::Result<ReadAhead<R>> {
    let (sender, receiver) = sync_channel(DEPTH);
    let thread = std::thread::Builder::new()
        .name("read-ahead".to_owned())
        .spawn(move || produce(reader, &sender))?;
    Ok(ReadAhead { receiver, thread, current: Vec::new(), taken: 0, ended: false })
}

/// Sends what `reader` gives; an empty buffer says that its end was reached.
fn produce<R: Read>(mut reader: R, sender: &SyncSender<io::Result<Vec<u8>>>) -> R {
    loop {
        let mut buffer = Vec::with_capacity(BUFFER);
        let result = reader.by_ref().take(BUFFER as u64).read_to_end(&mut buffer);
        let end = buffer.is_empty();
        // What was read before an error still counts.
        let wanted = (end && result.is_err()) || sender.send(Ok(buffer)).is_ok();
        if let Err(error) = result {
            // When nobody listens any more, nobody misses the error.
            let _ = sender.send(Err(error));
            return reader;
        }
        if end || !wanted {
            return reader;
        }
    }
}

/// A reader that is read on a thread of its own: see [`read_ahead`].
#[derive(Debug)]
pub struct ReadAhead<R> {
    receiver: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<R>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R> ReadAhead<R> {
    /// Stops reading and gives the reader back. It may be further than what was read here, unless
    /// that was all.
    ///
    /// # Errors
    /// When the reader panicked.
    pub fn finish(self) -> io::Result<R> {
        drop(self.receiver);
        self.thread.join().map_err(|_| gone())
    }
}

impl<R> Read for ReadAhead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() && !self.ended {
            // A thread that went away without a last word has panicked.
            self.current = self.receiver.recv().map_err(|_| gone())??;
            self.taken = 0;
            self.ended = self.current.is_empty();
        }
        let length = out.len().min(self.current.len() - self.taken);
        out[..length].copy_from_slice(&self.current[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

fn gone() -> io::Error {
    io::Error::other("the reading thread panicked")
}
