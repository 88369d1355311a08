//! What an archive says of itself: a comment in a header at its very front.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::read::checksum_matches;
use super::{BLOCK, COMMENT, numeric, padding, pax};

/// The longest comment that is read, with its headers, bytes.
const LONGEST: u64 = 64 * 1024;

/// The comment at the front of the uncompressed archive `tar`, if there is one, and the archive from
/// its beginning.
///
/// # Errors
/// What reading met. What is no archive has no comment.
pub fn comment<R: Read>(mut tar: R) -> io::Result<(Option<String>, impl Read)> {
    let mut front = Vec::new();
    tar.by_ref().take(BLOCK as u64).read_to_end(&mut front)?;
    let size = size_of_front(&front);
    if let Some(size) = size {
        tar.by_ref().take(size + padding(size)).read_to_end(&mut front)?;
    }
    let records = size.and_then(|_| front.get(BLOCK..)).unwrap_or_default();
    let found = pax::parse(records).map_while(|record| record).find(|(key, _)| *key == COMMENT);
    let text = found.and_then(|(_, text)| String::from_utf8(text.to_vec()).ok());
    Ok((text, io::Cursor::new(front).chain(tar)))
}

/// How long the records are that an archive begins with; none: it begins with something else.
fn size_of_front(block: &[u8]) -> Option<u64> {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block.get(..BLOCK)?);
    let is_front = header.entry_type() == EntryType::XGlobalHeader && checksum_matches(block);
    let size = numeric::parse_unsigned(&header.as_old().size)?;
    (is_front && size <= LONGEST).then_some(size)
}
