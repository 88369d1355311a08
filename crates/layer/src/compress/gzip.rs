//! gzip on all cores: one member (RFC 1952) of blocks that are deflated independently.
//!
//! Every block starts with the last 32 KiB of input before it as its dictionary and ends with a
//! sync flush, that is on a byte boundary, so the deflated blocks simply follow one another and any
//! reader sees a single ordinary stream. Several members would be simpler, but some readers stop
//! after the first.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use flate2::{Compress, Crc, FlushCompress};

use super::encode::invalid_level;

/// Input bytes per block. Part of the format: another size gives other bytes.
const BLOCK: usize = 256 * 1024;
/// How far a deflate stream can refer back.
const WINDOW: usize = 32 * 1024;

/// No name, no time, operating system unknown: nothing of this machine is in the header.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty final block: the end of the deflate stream.
const END: [u8; 2] = [3, 0];

pub(super) struct Encoder<W> {
    out: W,
    level: flate2::Compression,
    /// Input that does not fill a block yet.
    block: Vec<u8>,
    /// The block before it.
    previous: Arc<Vec<u8>>,
    /// Blocks being deflated, in the order of the stream.
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
            level: flate2::Compression::new(level),
            block: Vec::with_capacity(BLOCK),
            previous: Arc::default(),
            pending: VecDeque::new(),
            limit: 2 * rayon::current_num_threads() + 2,
            crc: Crc::new(),
        })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
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

    /// Hands the filled block to the pool.
    fn dispatch(&mut self) -> io::Result<()> {
        if self.pending.len() >= self.limit {
            self.collect()?;
        }
        let block = Arc::new(std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK)));
        let previous = std::mem::replace(&mut self.previous, Arc::clone(&block));
        let level = self.level;
        let (sender, receiver) = sync_channel(1);
        self.pending.push_back(receiver);
        rayon::spawn(move || {
            // A panic in the pool would end the process; here it only ends this stream.
            let result = catch_unwind(AssertUnwindSafe(|| deflate(&previous, &block, level)));
            let result =
                result.unwrap_or_else(|_| Err(io::Error::other("the compressor panicked")));
            // Nobody listens when the encoder was dropped; then nobody needs the block either.
            let _ = sender.send(result);
        });
        Ok(())
    }

    /// Writes the oldest pending block.
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
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.dispatch()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a block. On a thread of the pool it lends a hand instead of blocking: the job waited
/// for may be queued behind this very thread.
fn wait<T>(receiver: &Receiver<T>) -> Option<T> {
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

fn deflate(previous: &[u8], block: &[u8], level: flate2::Compression) -> io::Result<Deflated> {
    let mut crc = Crc::new();
    crc.update(block);
    let mut deflate = Compress::new(level, false);
    let dictionary = &previous[previous.len().saturating_sub(WINDOW)..];
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    // Fixed Huffman codes, all that level 1 uses, expand incompressible data by an eighth.
    let mut bytes = Vec::with_capacity(block.len() + block.len() / 8 + 1024);
    loop {
        let done = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        deflate
            .compress_vec(&block[done..], &mut bytes, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        // The flush is complete once there is room left in the output.
        if deflate.total_in() == block.len() as u64 && bytes.len() < bytes.capacity() {
            return Ok(Deflated { bytes, crc });
        }
        bytes.reserve(block.len() / 8 + 1024);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::io::Read;

    use super::*;

    /// Bytes no level can make smaller, and that level 1 makes larger.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3] | 0x90
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn every_level_survives_incompressible_data() {
        let data = noise(3 * BLOCK + 12345);
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

    #[test]
    fn a_full_output_buffer_loses_nothing() {
        // Fill the output exactly by starting with less room than the block needs.
        let block = noise(BLOCK);
        let whole = deflate(&[], &block, flate2::Compression::new(1)).unwrap();
        let mut inflated = vec![0; BLOCK + 1];
        let mut inflate = flate2::Decompress::new(false);
        inflate.decompress(&whole.bytes, &mut inflated, flate2::FlushDecompress::None).unwrap();
        assert_eq!(inflate.total_out(), BLOCK as u64);
        assert!(inflated[..BLOCK] == block);
    }
}
