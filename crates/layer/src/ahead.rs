//! Reading ahead, so that decompressing one part overlaps with writing out another.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes per buffer, and how many of them wait to be taken.
const BUFFER: usize = 256 * 1024;
const DEPTH: usize = 4;

/// Reads `reader` on a thread of its own, at most about a megabyte ahead.
///
/// When the result is dropped early, the thread ends after the read it is in.
///
/// # Errors
/// When no thread can be started.
pub fn read_ahead(reader: impl Read + Send + 'static) -> io::Result<impl Read + Send + 'static> {
    let (sender, receiver) = sync_channel(DEPTH);
    std::thread::Builder::new()
        .name("read-ahead".to_owned())
        .spawn(move || produce(reader, &sender))?;
    Ok(Ahead { receiver, current: Vec::new(), taken: 0, ended: false })
}

/// Sends what `reader` gives; an empty buffer says that its end was reached.
fn produce(mut reader: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut buffer = Vec::with_capacity(BUFFER);
        let result = reader.by_ref().take(BUFFER as u64).read_to_end(&mut buffer);
        let end = buffer.is_empty();
        // What was read before an error still counts.
        let wanted = (end && result.is_err()) || sender.send(Ok(buffer)).is_ok();
        if let Err(error) = result {
            // When nobody listens any more, nobody misses the error.
            let _ = sender.send(Err(error));
            return;
        }
        if end || !wanted {
            return;
        }
    }
}

struct Ahead {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.current.len() && !self.ended {
            // A thread that went away without a last word has panicked.
            let gone = |_| io::Error::other("the reading thread panicked");
            self.current = self.receiver.recv().map_err(gone)??;
            self.taken = 0;
            self.ended = self.current.is_empty();
        }
        let length = out.len().min(self.current.len() - self.taken);
        out[..length].copy_from_slice(&self.current[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}
