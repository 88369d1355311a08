//! The encoder in front of the formats.

use std::io::{self, Write};

use zstd::zstd_safe::CParameter;

use super::{Compression, chunked, gzip};

/// Compresses what is written to it. The end of the stream is only written by
/// [`finish`](Self::finish): an encoder that is dropped leaves a truncated stream behind.
///
/// Compression runs on the rayon pool of the caller for gzip and on threads of its own for zstd,
/// while the caller goes on producing. A bounded number of blocks is in flight.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Plain(W),
    Gzip(gzip::Encoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Chunked(Box<chunked::Encoder<W>>),
}

impl<W: Write> Encoder<W> {
    /// Compresses into `out`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a level the format does not have, else what writing the
    /// header of the stream met.
    pub fn new(out: W, compression: &Compression) -> io::Result<Self> {
        Ok(Self(match *compression {
            Compression::None => Inner::Plain(out),
            Compression::Gzip { level } => Inner::Gzip(gzip::Encoder::new(out, level)?),
            Compression::Zstd { level } => Inner::Zstd(zstd_encoder(out, level)?),
            Compression::ZstdChunked { level } => {
                Inner::Chunked(Box::new(chunked::Encoder::new(out, chunked::Form::Zstd(level))?))
            }
            Compression::Estargz { level } => {
                Inner::Chunked(Box::new(chunked::Encoder::new(out, chunked::Form::Estargz(level))?))
            }
        }))
    }

    /// Writes the end of the stream and returns the writer, which is not flushed.
    ///
    /// # Errors
    /// What the writer met.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Plain(out) => Ok(out),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Chunked(encoder) => encoder.finish(),
        }
    }
}

/// The highest of the levels that are chosen for speed, which look back two megabytes at the most.
const QUICK: i32 = 4;
/// What a worker takes at a time at those levels, half of what zstd would choose: every job in flight
/// is in memory twice, and larger ones make the result smaller by a four-hundredth at best. Part of
/// the format: another size gives other bytes.
const QUICK_JOB: u32 = 4 << 20;

fn zstd_encoder<W: Write>(
    out: W,
    level: i32,
) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    if level == 0 || !zstd::compression_level_range().contains(&level) {
        return Err(invalid_level());
    }
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    // The frame a single-threaded encoder writes differs from the one any number of workers
    // writes, so there is always at least one worker.
    let workers = rayon::current_num_threads().max(1);
    encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
    if level <= QUICK {
        encoder.set_parameter(CParameter::JobSize(QUICK_JOB))?;
    }
    Ok(encoder)
}

pub(super) fn invalid_level() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no such compression level")
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(out) => out.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
            Inner::Chunked(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing for the compressed formats: where a caller flushes must not show in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Plain(out) => out.flush(),
            Inner::Gzip(_) | Inner::Zstd(_) | Inner::Chunked(_) => Ok(()),
        }
    }
}
