//! Hashing bytes while they are read or written for another reason anyway.

use std::io::{self, Read, Write};

use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Computes a [`Digest`] piece by piece. Also a sink for anything that writes.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// How far this is, for [`resume`](Self::resume) to go on from. It tells of what was taken in no
    /// more than a digest does, but for the last block of 64 bytes if that is not full.
    pub fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// The hasher that had this [state](Self::state); none if it is no state.
    pub fn resume(state: &[u8]) -> Option<Self> {
        Sha256::deserialize(&state.try_into().ok()?).ok().map(Self)
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes and counts what is read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R> HashingReader<R> {
    /// Wraps `inner`; the digest covers what is read from here on.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), count: 0 }
    }

    /// Bytes read so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The reader, and the digest and number of the bytes read through it. What was not read is
    /// not hashed: read to the end first if the whole is meant.
    pub fn finish(self) -> (R, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.count += read as u64;
        Ok(read)
    }
}

/// Hashes and counts what is written through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W> HashingWriter<W> {
    /// Wraps `inner`; the digest covers what is written from here on.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), count: 0 }
    }

    /// Bytes written so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The writer, not flushed, and the digest and number of the bytes written through it.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    /// Takes one byte at a time, like a socket under pressure.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(1);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_was_taken_is_hashed() {
        let mut writer = HashingWriter::new(Narrow(Vec::new()));
        writer.write_all(b"layer").unwrap();
        let (inner, digest, count) = writer.finish();
        assert_eq!((inner.0.as_slice(), digest, count), (&b"layer"[..], Digest::of(b"layer"), 5));
    }

    #[test]
    fn the_digest_covers_what_was_read() {
        let mut reader = HashingReader::new(&b"layer and more"[..]);
        reader.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(reader.count(), 5);
        let (rest, digest, count) = reader.finish();
        assert_eq!((rest, digest, count), (&b" and more"[..], Digest::of(b"layer"), 5));
    }
}
