//! Compressing layers on every core, and reading whatever a registry or a user hands in.
//!
//! The bytes of a compressed layer are part of the identity of an image, so the encoders give the
//! same bytes for the same input on every machine, whatever the number of threads and the sizes
//! of the writes. [`Compression::key`] names everything the bytes depend on.

mod blocks;
mod chunked;
mod decode;
mod deflate;
mod encode;
mod gzip;
mod noise;

pub use chunked::positions;
pub use decode::{Format, decoder, detect};
pub use encode::Encoder;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all: a plain tar.
    None,
    /// One gzip member, which every client of every registry can read.
    Gzip {
        /// 0 (stored) to 9 (smallest).
        level: u32,
    },
    /// One zstd frame: smaller and several times faster than gzip, for registries that take it.
    Zstd {
        /// 1 to 22; negative levels trade size for still more speed.
        level: i32,
    },
    /// Frames of zstd, one and more for each file, with a table at the end that says where each is:
    /// zstd:chunked. Any client that reads zstd reads it, and some fetch only the files that they do not have.
    ZstdChunked {
        /// As that of zstd.
        level: i32,
    },
    /// Members of gzip, one and more for each file, and a file with a table that says where each is: eStargz.
    /// What comes out is not the tar that was put in, but one with that file.
    Estargz {
        /// As that of gzip.
        level: u32,
    },
}

/// Counts the changes of the gzip bytes that a given level stands for. Raise it, and the digest in
/// the golden test, whenever an update of the compressor or of the block layout changes them.
const GZIP_REVISION: u32 = 2;
/// The same for zstd.
const ZSTD_REVISION: u32 = 2;
/// The same for eStargz, and its pieces.
const ESTARGZ_REVISION: u32 = 1;
/// The same for zstd:chunked.
const CHUNKED_REVISION: u32 = 1;

impl Default for Compression {
    /// gzip at level 5, which is smaller than what zlib makes at its own default, 6, and within half
    /// a percent of what 6 makes here, for a sixth less time.
    fn default() -> Self {
        Self::Gzip { level: 5 }
    }
}

impl Compression {
    /// Names the bytes this setting makes of a given tar: two layers compressed under the same key
    /// from the same tar are equal.
    pub fn key(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Gzip { level } => format!("gzip-{level}-r{GZIP_REVISION}"),
            Self::Zstd { level } => format!("zstd-{level}-r{ZSTD_REVISION}"),
            Self::Estargz { level } => {
                format!("estargz-{level}-r{GZIP_REVISION}.{ESTARGZ_REVISION}")
            }
            Self::ZstdChunked { level } => format!("zstd-chunked-{level}-r{CHUNKED_REVISION}"),
        }
    }

    /// What is appended to `application/vnd.oci.image.layer.v1.tar`: nothing, `+gzip` or `+zstd`.
    pub fn media_type_suffix(&self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip { .. } | Self::Estargz { .. } => "+gzip",
            Self::Zstd { .. } | Self::ZstdChunked { .. } => "+zstd",
        }
    }

    /// The compression of a tar that has to come out as it is.
    #[must_use]
    pub fn faithful(self) -> Self {
        match self {
            Self::Estargz { level } => Self::Gzip { level },
            other => other,
        }
    }

    /// Whether it is zstd in any form, for which Docker has no media type.
    pub fn is_zstd(&self) -> bool {
        matches!(self, Self::Zstd { .. } | Self::ZstdChunked { .. })
    }
}
