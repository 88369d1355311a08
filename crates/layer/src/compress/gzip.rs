//! gzip on all cores: one member (RFC 1952) of pieces that are deflated independently.
//!
//! Every piece begins and ends on a whole byte, so they simply follow one another and any reader
//! sees a single ordinary stream. Several members would be simpler, but some readers stop after the
//! first.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use flate2::Crc;

use super::deflate::{END, deflate};
use super::encode::invalid_level;

/// Input bytes per piece. Part of the format: another size gives other bytes. As nothing refers back
/// beyond its beginning, a piece is many times the 32 KiB that deflate can refer back.
const PIECE: usize = 512 * 1024;

/// No name, no time, operating system unknown: nothing of this machine is in the header.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

pub(super) struct Encoder<W> {
    out: W,
    level: u32,
    /// Input that does not fill a piece yet.
    piece: Vec<u8>,
    /// Pieces being deflated, in the order of the stream.
    pending: VecDeque<Receiver<io::Result<Deflated>>>,
    /// How many may be: enough to keep every thread busy while the caller fills the next.
    limit: usize,
    crc: Crc,
}

struct Deflated {
    bytes: Vec<u8>,
    /// Of the input.
    crc: Crc,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut out: W, level: u32) -> io::Result<Self> {
        if level > 9 {
            return Err(invalid_level());
        }
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            level,
            piece: Vec::with_capacity(PIECE),
            pending: VecDeque::new(),
            limit: 2 * rayon::current_num_threads() + 2,
            crc: Crc::new(),
        })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.piece.is_empty() {
            self.dispatch()?;
        }
        while !self.pending.is_empty() {
            self.collect()?;
        }
        self.out.write_all(&END)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Hands the filled piece to the pool.
    fn dispatch(&mut self) -> io::Result<()> {
        if self.pending.len() >= self.limit {
            self.collect()?;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let level = self.level;
        let (sender, receiver) = sync_channel(1);
        self.pending.push_back(receiver);
        rayon::spawn(move || {
            // A panic in the pool would end the process; here it only ends this stream.
            let result = catch_unwind(AssertUnwindSafe(|| {
                let mut crc = Crc::new();
                crc.update(&piece);
                deflate(&piece, level).map(|bytes| Deflated { bytes, crc })
            }));
            let result =
                result.unwrap_or_else(|_| Err(io::Error::other("the compressor panicked")));
            // Nobody listens when the encoder was dropped; then nobody needs the piece either.
            let _ = sender.send(result);
        });
        Ok(())
    }

    /// Writes the oldest pending piece.
    fn collect(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else { return Ok(()) };
        let gone = || io::Error::other("the compressor went away");
        let Deflated { bytes, crc } = wait(&receiver).ok_or_else(gone)??;
        self.crc.combine(&crc);
        self.out.write_all(&bytes)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.dispatch()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a piece. On a thread of the pool it lends a hand instead of blocking: the job waited
/// for may be queued behind this very thread.
pub(super) fn wait<T>(receiver: &Receiver<T>) -> Option<T> {
    loop {
        match receiver.try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => {}
            Some(rayon::Yield::Idle) => std::thread::yield_now(),
            None => return receiver.recv().ok(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_level_survives_incompressible_data() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Too uneven to be stored without trying, and longer by any code.
            state.to_le_bytes()[3] | 0x90
        };
        let data: Vec<u8> = (0..3 * PIECE + 12345).map(|_| next()).collect();
        for level in 0..=9 {
            let mut encoder = Encoder::new(Vec::new(), level).unwrap();
            encoder.write_all(&data).unwrap();
            let packed = encoder.finish().unwrap();
            let mut plain = Vec::new();
            // The single-member reader: there must be only one member.
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
            assert!(plain == data, "level {level}");
        }
        assert!(Encoder::new(Vec::new(), 10).is_err());
    }
}
