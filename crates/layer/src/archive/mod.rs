//! The tar format, as layers use it.
//!
//! [`encode`] makes ustar headers (POSIX.1-1988) with PAX extended headers (POSIX.1-2001) only for
//! what does not fit; [`read`] takes everything GNU tar, libarchive, Go and Python write.

mod comment;
pub(crate) mod encode;
pub(crate) mod numeric;
pub(crate) mod pax;
pub(crate) mod read;
mod sparse;

pub use comment::comment;

/// Headers and contents begin at multiples of this.
pub(crate) const BLOCK: usize = 512;

/// In front of the PAX keys that carry extended attributes.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// The PAX key of a comment, which every program skips.
pub(crate) const COMMENT: &[u8] = b"comment";

/// Whether `prefix` begins with a tar header: that is, its first 512 bytes carry their own
/// checksum. An archive without any entry is not recognised.
pub fn is_tar(prefix: &[u8]) -> bool {
    let Some(block) = prefix.get(..BLOCK) else { return false };
    block.iter().any(|byte| *byte != 0) && read::checksum_matches(block)
}

/// The bytes between the end of contents of `size` bytes and the next header.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
