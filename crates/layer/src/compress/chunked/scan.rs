//! Finding the files in a tar that is written piece by piece.

use tar::EntryType;

use crate::archive::read::{Archive, EntryKind, checksum_matches};
use crate::archive::{BLOCK, numeric, padding, pax};

/// The most that extension headers of one entry may take.
const EXTENSIONS_MAX: usize = 1 << 20;

/// What the header of an entry says, in the words of Go's archive/tar.
pub(super) struct Header {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) link: String,
    /// As it is there, whatever its upper bits say.
    pub(super) mode: i64,
    pub(super) size: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Time,
    pub(super) accessed: Option<Time>,
    pub(super) changed: Option<Time>,
    pub(super) device: (i64, i64),
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
}

/// Seconds since 1970, and nanoseconds.
pub(super) type Time = (i64, u32);

/// What was found in the bytes.
pub(super) enum Found<'a> {
    /// A header; it is in the [raw bytes](Scanner::take_raw) with what is before it.
    Header(Box<Header>),
    /// Contents of the entry, and whether they are all.
    Contents(&'a [u8], bool),
    /// What is behind the last entry.
    Tail(&'a [u8]),
    /// What cannot be understood, and all that comes after it.
    Unknown(&'a [u8]),
    /// The bytes were taken, and more are needed.
    Nothing,
}

#[derive(Default)]
enum State {
    /// A header has to come.
    #[default]
    Block,
    /// So many bytes of an extension header, with their padding.
    Extension(usize),
    /// So many bytes of contents, then of padding.
    Contents(u64, u64),
    /// Zeros behind contents.
    Padding(u64),
    Tail,
    Unknown,
}

/// Follows a tar.
#[derive(Default)]
pub(super) struct Scanner {
    state: State,
    /// Bytes that are no contents, since they were taken the last time.
    raw: Vec<u8>,
    /// Where in them the headers of the entry begin.
    start: usize,
    /// Where in them the block begins that has to be complete.
    block: usize,
}

impl Scanner {
    /// The bytes that are no contents, up to here.
    pub(super) fn take_raw(&mut self) -> Vec<u8> {
        (self.start, self.block) = (0, 0);
        std::mem::take(&mut self.raw)
    }

    /// Whether the archive has come to its end.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.state, State::Tail)
    }

    /// Takes something off the front of `bytes`, which are not empty.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Found<'a> {
        match self.state {
            State::Tail => Found::Tail(std::mem::take(bytes)),
            State::Unknown => Found::Unknown(std::mem::take(bytes)),
            State::Contents(left, after) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let part = split_off(bytes, taken);
                let left = left - taken as u64;
                let is_last = left == 0;
                self.state =
                    if is_last { State::Padding(after) } else { State::Contents(left, after) };
                Found::Contents(part, is_last)
            }
            State::Padding(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.raw.extend_from_slice(split_off(bytes, taken));
                let left = left - taken as u64;
                if left > 0 {
                    self.state = State::Padding(left);
                } else {
                    self.state = State::Block;
                    (self.start, self.block) = (self.raw.len(), self.raw.len());
                }
                Found::Nothing
            }
            State::Extension(left) => {
                let taken = left.min(bytes.len());
                self.raw.extend_from_slice(split_off(bytes, taken));
                self.state = State::Extension(left - taken);
                if left == taken {
                    self.state = State::Block;
                    self.block = self.raw.len();
                }
                Found::Nothing
            }
            State::Block => {
                let taken = (self.block + BLOCK - self.raw.len()).min(bytes.len());
                self.raw.extend_from_slice(split_off(bytes, taken));
                if self.raw.len() < self.block + BLOCK {
                    return Found::Nothing;
                }
                let found = self.complete();
                found.unwrap_or_else(|| {
                    self.state = State::Unknown;
                    Found::Unknown(&[])
                })
            }
        }
    }

    /// What the block is that is complete now; none: nobody knows.
    fn complete<'a>(&mut self) -> Option<Found<'a>> {
        let block: &[u8; BLOCK] = self.raw[self.block..].first_chunk()?;
        if block.iter().all(|byte| *byte == 0) {
            // Nothing but headers can be in front of it.
            if self.start != self.block {
                return None;
            }
            self.state = State::Tail;
            return Some(Found::Tail(&[]));
        }
        if !checksum_matches(block) {
            return None;
        }
        let size = numeric::parse_unsigned(&block[124..136])?;
        match EntryType::new(block[156]) {
            EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                let size = usize::try_from(size + padding(size)).ok()?;
                let all = self.raw.len() - self.start + size;
                if all > EXTENSIONS_MAX {
                    return None;
                }
                self.block = self.raw.len();
                self.state = if size == 0 { State::Block } else { State::Extension(size) };
                Some(Found::Nothing)
            }
            _ => {
                let header = header(&self.raw[self.start..], block)?;
                self.state = match header.size {
                    0 => State::Block,
                    size => State::Contents(size, padding(size)),
                };
                Some(Found::Header(Box::new(header)))
            }
        }
    }
}

fn split_off<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count);
    *bytes = rest;
    front
}

/// What the headers of an entry say, of which `block` is the last. `None` where readers could differ, or
/// where it cannot be said in text.
fn header(all: &[u8], block: &[u8; BLOCK]) -> Option<Header> {
    let mut reader = all;
    let entry = Archive::new(&mut reader).next().ok()??;
    if entry.segments.is_some() {
        return None;
    }
    let (kind, link) = match entry.kind {
        EntryKind::File => ("reg", Vec::new()),
        EntryKind::Dir => ("dir", Vec::new()),
        EntryKind::Symlink(target) => ("symlink", target),
        EntryKind::Hardlink(target) => ("hardlink", target),
        EntryKind::CharDevice(..) => ("char", Vec::new()),
        EntryKind::BlockDevice(..) => ("block", Vec::new()),
        EntryKind::Fifo => ("fifo", Vec::new()),
    };
    // The types that all readers take for the same, and whose headers have nothing else to say.
    let is_plain = matches!(block[156], b'0'..=b'6');
    let has_link = block[157] != 0 && link.is_empty();
    let is_ustar = &block[257..263] == b"ustar\0" && &block[508..512] != b"tar\0";
    let is_gnu = &block[257..265] == b"ustar  \0" && block[345..].iter().all(|byte| *byte == 0);
    if !is_plain || has_link || !(is_ustar || is_gnu) {
        return None;
    }
    let records = records(all)?;
    let time = |key: &[u8]| {
        let mut values = records.iter().filter(|(known, _)| known == key);
        match (values.next(), values.next()) {
            (None, _) => Some(None),
            (Some((_, value)), None) => Some(Some(pax::time(value)?)),
            _ => None,
        }
    };
    let xattr = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let name = key.strip_prefix(crate::archive::XATTR)?;
        Some(String::from_utf8(name.to_vec()).map(|name| (name, value.clone())))
    };
    Some(Header {
        kind,
        name: String::from_utf8(entry.name).ok()?,
        link: String::from_utf8(link).ok()?,
        mode: numeric::parse(&block[100..108])?,
        size: if kind == "reg" { entry.size } else { 0 },
        uid: entry.uid,
        gid: entry.gid,
        modified: entry.mtime,
        accessed: time(b"atime")?,
        changed: time(b"ctime")?,
        device: (numeric::parse(&block[329..337])?, numeric::parse(&block[337..345])?),
        xattrs: records.iter().filter_map(xattr).collect::<Result<_, _>>().ok()?,
    })
}

/// Keys and values of a PAX header.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of the PAX header among the headers of an entry. `None` if there are several headers.
fn records(all: &[u8]) -> Option<Records> {
    let (mut at, mut found) = (0, None);
    while at + BLOCK < all.len() {
        let block = &all[at..at + BLOCK];
        let size = usize::try_from(numeric::parse_unsigned(&block[124..136])?).ok()?;
        at += BLOCK;
        if EntryType::new(block[156]) == EntryType::XHeader {
            let records = pax::parse(all.get(at..at + size)?);
            let records = records.map(|record| record.map(|(k, v)| (k.to_vec(), v.to_vec())));
            if found.replace(records.collect::<Option<Records>>()?).is_some() {
                return None;
            }
        }
        at += size + padding(size as u64) as usize;
    }
    Some(found.unwrap_or_default())
}
