//! Reading a blob while it arrives.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio_util::bytes::{Buf as _, Bytes};

/// Pieces that wait to be read, each some 16 KiB.
const QUEUE: usize = 64;

/// Makes the two ends of a tap: what a blob is received through ([`Client::fetch_tapped`]), and what
/// reads it meanwhile.
///
/// [`Client::fetch_tapped`]: crate::Client::fetch_tapped
pub fn tap() -> (Tap, Arriving) {
    let (sender, pieces) = sync_channel(QUEUE);
    (Tap(Some(sender)), Arriving { pieces, current: Bytes::new(), ended: false })
}

/// Where a blob is passed on to while it is received.
#[derive(Debug, Default)]
pub struct Tap(Option<SyncSender<Bytes>>);

impl Tap {
    /// Passes on the next bytes, of which there are some. Waits until there is room for them.
    pub(crate) fn pass(&mut self, bytes: Bytes) {
        if let Some(sender) = &self.0
            && sender.send(bytes).is_err()
        {
            // Nobody reads any more.
            self.0 = None;
        }
    }

    /// Says that this was the blob.
    pub(crate) fn end(mut self) {
        self.pass(Bytes::new());
    }
}

/// A blob that is arriving. It ends when all of it has come and was verified: whoever has read the
/// end has read what was asked for. If that never comes, reading fails.
#[derive(Debug)]
pub struct Arriving {
    pieces: Receiver<Bytes>,
    current: Bytes,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            let gone = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the blob did not arrive");
            self.current = self.pieces.recv().map_err(gone)?;
            self.ended = self.current.is_empty();
        }
        let length = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}
