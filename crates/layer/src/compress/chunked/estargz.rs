//! What eStargz adds to a tar, and where it is found.

use std::io::{self, Read, Seek, SeekFrom};

use bld_oci::Digest;
use flate2::Crc;
use tar::{EntryType, Header};

use super::super::deflate::{END, deflate};
use crate::archive::{BLOCK, numeric, padding};

/// The file that has the table.
const TABLE: &[u8] = b"stargz.index.json";
/// The file that says that nothing is to be fetched in advance, and what is in it.
const LANDMARK: (&[u8], &[u8]) = (b".no.prefetch.landmark", &[0xf]);
/// Bytes of the footer: an empty member whose header says where the table is.
const FOOTER: usize = 51;
/// No name, no time, operating system unknown.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// In the header of the footer: the length of what follows, whose it is, and its length.
const EXTRA: [u8; 6] = [26, 0, b'S', b'G', 22, 0];
const MARK: &[u8] = b"STARGZ";
/// The largest table that is read.
const TABLE_MAX: u64 = 1 << 30;

/// A member of gzip.
pub(super) fn member(bytes: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut crc = Crc::new();
    crc.update(bytes);
    let deflated = deflate(bytes, level)?;
    let (sum, amount) = (crc.sum().to_le_bytes(), crc.amount().to_le_bytes());
    Ok([&HEAD[..], &deflated, &END, &sum, &amount].concat())
}

/// What the tar begins with.
pub(super) fn landmark() -> Vec<u8> {
    file(LANDMARK.0, LANDMARK.1)
}

/// What the stream ends with after `written` bytes.
pub(super) fn end(table: &[u8], written: u64, level: u32) -> io::Result<Vec<u8>> {
    let mut rest = file(TABLE, table);
    rest.extend([0; 2 * BLOCK]);
    let mut bytes = member(&rest, level)?;
    let mut head = HEAD;
    // There is something extra.
    head[3] = 4;
    bytes.extend(head);
    bytes.extend(EXTRA);
    bytes.extend(format!("{written:016x}").into_bytes());
    bytes.extend(MARK);
    // A stored block of nothing, the last; its checksum and length.
    bytes.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    Ok(bytes)
}

/// A file of a tar.
fn file(name: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(contents.len() as u64);
    header.set_cksum();
    let mut bytes = [&header.as_bytes()[..], contents].concat();
    bytes.resize(bytes.len() + padding(contents.len() as u64) as usize, 0);
    bytes
}

/// The digest of the table of the stream in `blob`, of so many bytes; none if it has no table.
///
/// # Errors
/// What reading it met.
pub(super) fn table_digest(blob: &mut (impl Read + Seek), size: u64) -> io::Result<Option<Digest>> {
    let Some(start) = size.checked_sub(FOOTER as u64) else { return Ok(None) };
    blob.seek(SeekFrom::Start(start))?;
    let mut footer = [0; FOOTER];
    blob.read_exact(&mut footer)?;
    let number = std::str::from_utf8(&footer[16..32]).ok();
    let at = number.and_then(|number| u64::from_str_radix(number, 16).ok());
    let is_footer =
        footer.starts_with(&HEAD[..3]) && footer[10..16] == EXTRA && footer[32..38] == *MARK;
    let Some(at) = at.filter(|at| is_footer && *at < start) else { return Ok(None) };
    blob.seek(SeekFrom::Start(at))?;
    let mut plain = flate2::read::GzDecoder::new(blob.take(start - at));
    let mut header = [0; BLOCK];
    plain.read_exact(&mut header)?;
    let length = numeric::parse_unsigned(&header[124..136]).filter(|length| *length <= TABLE_MAX);
    let Some(length) = length.filter(|_| header.starts_with(TABLE)) else { return Ok(None) };
    let mut table = Vec::new();
    plain.take(length).read_to_end(&mut table)?;
    Ok(Some(Digest::of(&table)))
}
