//! Decoding by what the bytes are, never by what they are called.

use std::io::{self, BufReader, Cursor, Read};

/// A compressed format that [`decoder`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 1952, one member or several.
    Gzip,
    /// RFC 8878, one frame or several.
    Zstd,
    /// bzip2, one stream or several.
    Bzip2,
    /// The .xz container, one stream or several. Not the older .lzma, which has no magic.
    Xz,
}

/// The longest magic.
const MAGIC: usize = 6;
/// What an encoder reads at a time.
const BUFFER: usize = 128 * 1024;
/// The most memory, in KiB, an .xz file may ask for. `xz -9` asks for 64 MiB.
const XZ_MEMORY: u32 = 512 * 1024;

/// The format of a stream that begins with `prefix`, or `None` when it is not compressed in a
/// known way. Six bytes are enough to tell.
pub fn detect(prefix: &[u8]) -> Option<Format> {
    match prefix {
        [0x1f, 0x8b, 0x08, ..] => Some(Format::Gzip),
        // The second is a skippable frame, as seekable formats have in front.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Format::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        _ => None,
    }
}

/// Reads `reader` decompressed, or as it is when it is not compressed.
///
/// # Errors
/// What reading the first bytes met. Corrupt data shows up while reading, as
/// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::InvalidInput`].
pub fn decoder(mut reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut prefix = Vec::with_capacity(MAGIC);
    reader.by_ref().take(MAGIC as u64).read_to_end(&mut prefix)?;
    let format = detect(&prefix);
    let whole = Cursor::new(prefix).chain(reader);
    let buffered = |whole| BufReader::with_capacity(BUFFER, whole);
    Ok(match format {
        None => Box::new(whole),
        Some(Format::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(whole))),
        Some(Format::Zstd) => Box::new(zstd::stream::read::Decoder::with_buffer(buffered(whole))?),
        Some(Format::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(whole))),
        Some(Format::Xz) => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(buffered(whole), true, XZ_MEMORY))
        }
    })
}
