//! Reading archives as they come: ustar, PAX, GNU and old V7 headers.
//!
//! Where readers differ, this one does what Go's archive/tar does, because that is what every
//! other container engine unpacks with: an archive must not hold two different trees.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use tar::{EntryType, Header};

use super::sparse::{self, Segment};
use super::{BLOCK, XATTR, numeric, padding, pax};
use crate::xattr::Xattrs;
use crate::{LayerError, Result};

/// The most a PAX header or a GNU long name may take.
const MAX_METADATA: u64 = 1024 * 1024;
/// The most pieces a sparse file may be in: as many as fit into such a header.
const MAX_SEGMENTS: usize = 256 * 1024;

/// One entry of an archive.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the archive spells it.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) mtime: (i64, u32),
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    pub(crate) xattrs: Xattrs,
    /// Where the stored bytes go when the file has holes.
    pub(crate) segments: Option<Vec<Segment>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Dir,
    /// With the text of the link.
    Symlink(Vec<u8>),
    /// With the name of the entry it is the same file as.
    Hardlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// An archive being read from front to back.
pub(crate) struct Archive<'a> {
    reader: &'a mut dyn Read,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the current entry that were not read yet.
    unread: u64,
    /// The zeros behind them.
    padding: u64,
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `GNU.sparse.numbytes`, which repeat.
    sparse_map: Vec<u64>,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(reader: &'a mut dyn Read) -> Self {
        Self { reader, offset: 0, unread: 0, padding: 0 }
    }

    /// The next entry, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.unread + self.padding)?;
            (self.unread, self.padding) = (0, 0);
            let start = self.offset;
            let Some(header) = self.header()? else { return Ok(None) };
            let malformed = |problem| LayerError::Malformed { offset: start, problem };
            let size = numeric::parse_unsigned(&header.as_old().size);
            let size = size.ok_or(malformed("bad size"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.metadata(size, start)?;
                    extensions.take_pax(&records).map_err(malformed)?;
                }
                EntryType::GNULongName => extensions.name = Some(self.long_name(size, start)?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name(size, start)?),
                // Global headers of git archives hold a commit id; nothing uses them for more.
                // A volume label (V) and a multi-volume continuation (M) are no files either.
                EntryType::XGlobalHeader => self.has_contents(size, start)?,
                other if matches!(other.as_byte(), b'V' | b'M') => {
                    self.has_contents(size, start)?;
                }
                _ => return self.entry(&header, size, extensions, start).map(Some),
            }
        }
    }

    /// Reads the rest of the stream, which a digest may have to cover.
    pub(crate) fn drain(&mut self) -> Result<()> {
        io::copy(self.reader, &mut io::sink()).map(drop).map_err(stream)
    }

    /// The stored bytes of the current entry.
    pub(crate) fn contents(&mut self) -> Contents<'_, 'a> {
        Contents(self)
    }

    /// Copies the next `length` stored bytes of the current entry to `write`.
    pub(crate) fn copy(
        &mut self,
        mut length: u64,
        buffer: &mut [u8],
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while length > 0 {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
            let read = match self.contents().read(&mut buffer[..wanted]) {
                Ok(0) => return Err(stream(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(stream)?,
            };
            write(&buffer[..read])?;
            length -= read as u64;
        }
        Ok(())
    }

    /// The next header block, or `None` at the end of the archive: two zero blocks, or simply
    /// nothing more.
    fn header(&mut self) -> Result<Option<Header>> {
        let start = self.offset;
        let malformed = |problem| Err(LayerError::Malformed { offset: start, problem });
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        match self.fill(block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return malformed("the archive is cut off"),
        }
        if block.iter().all(|byte| *byte == 0) {
            return match self.fill(block)? {
                BLOCK if block.iter().any(|byte| *byte != 0) => malformed("a header is missing"),
                _ => Ok(None),
            };
        }
        if !checksum_matches(block) {
            return malformed("the checksum of a header is wrong");
        }
        Ok(Some(header))
    }

    fn entry(
        &mut self,
        header: &Header,
        stored: u64,
        extensions: Extensions,
        start: u64,
    ) -> Result<Entry> {
        let malformed = |problem| LayerError::Malformed { offset: start, problem };
        let Extensions { name: long_name, link, pax, sparse_map } = extensions;
        let text = |key: &[u8]| pax.get(key).filter(|value| !value.is_empty());
        let old = header.as_old();
        let stored = match text(b"size") {
            Some(value) => pax::number(value).ok_or(malformed("bad size"))?,
            None => stored,
        };
        let owner = |key: &[u8], field: &[u8]| {
            let id = match text(key) {
                Some(value) => pax::number(value),
                None => numeric::parse_unsigned(field),
            };
            // Owners beyond 32 bits do not exist on Linux.
            id.and_then(|id| u32::try_from(id).ok()).ok_or(malformed("bad owner"))
        };
        let (uid, gid) = (owner(b"uid", &old.uid)?, owner(b"gid", &old.gid)?);
        let mtime = match text(b"mtime") {
            Some(value) => pax::time(value),
            None => numeric::parse(&old.mtime).map(|seconds| (seconds, 0)),
        };
        // Only ustar headers have a prefix: GNU keeps other things in its place.
        let name = || header.path_bytes().into_owned();
        let name = text(b"path").cloned().or(long_name).unwrap_or_else(name);
        let link = text(b"linkpath")
            .cloned()
            .or(link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        if name.contains(&0) || link.contains(&0) {
            return Err(malformed("a name holds a NUL"));
        }
        let rdev = || {
            let fields = header
                .as_ustar()
                .map(|ustar| (ustar.dev_major, ustar.dev_minor))
                .or_else(|| header.as_gnu().map(|gnu| (gnu.dev_major, gnu.dev_minor)));
            let (major, minor) = fields.unwrap_or_default();
            let part = |field: [u8; 8]| {
                numeric::parse_unsigned(&field)
                    .and_then(|part| u32::try_from(part).ok())
                    .ok_or(malformed("bad device number"))
            };
            Ok((part(major)?, part(minor)?))
        };
        let kind = match header.entry_type() {
            // Before there were types, a slash at the end made a directory.
            EntryType::Regular if header.as_old().linkflag == [0] && name.ends_with(b"/") => {
                EntryKind::Dir
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
            // GNU incremental archives: a directory with a list of its files as contents.
            EntryType::Directory => EntryKind::Dir,
            other if other.as_byte() == b'D' => EntryKind::Dir,
            EntryType::Symlink => EntryKind::Symlink(link),
            EntryType::Link => EntryKind::Hardlink(link),
            EntryType::Char => rdev().map(|(major, minor)| EntryKind::CharDevice(major, minor))?,
            EntryType::Block => {
                rdev().map(|(major, minor)| EntryKind::BlockDevice(major, minor))?
            }
            EntryType::Fifo => EntryKind::Fifo,
            _ => {
                let name = OsString::from_vec(name);
                return Err(LayerError::entry(name, "entries of this type are not supported"));
            }
        };
        let mut entry = Entry {
            name,
            kind,
            // The upper bits of the field repeat the type.
            mode: numeric::parse(&old.mode).ok_or(malformed("bad mode"))? as u32 & 0o7777,
            uid,
            gid,
            mtime: mtime.ok_or(malformed("bad time"))?,
            size: stored,
            xattrs: xattrs(&pax),
            segments: None,
        };
        match (&entry.kind, header.entry_type()) {
            (EntryKind::File, EntryType::GNUSparse) => {
                self.has_contents(stored, start)?;
                self.gnu_sparse(&mut entry, header, start)?;
            }
            (EntryKind::File, _) => {
                self.has_contents(stored, start)?;
                self.pax_sparse(&mut entry, &pax, sparse_map, start)?;
            }
            // A directory's size is that of the list of an incremental archive.
            (EntryKind::Dir, kind) if kind.as_byte() == b'D' => self.has_contents(stored, start)?,
            // Whatever the size says, other types have no contents.
            _ => entry.size = 0,
        }
        Ok(entry)
    }

    /// The map of an old GNU sparse entry: four segments in the header, the rest in blocks behind
    /// it.
    fn gnu_sparse(&mut self, entry: &mut Entry, header: &Header, start: u64) -> Result<()> {
        let malformed = |problem| LayerError::Malformed { offset: start, problem };
        let gnu = header.as_gnu().ok_or(malformed("bad sparse map"))?;
        entry.size = numeric::parse_unsigned(&gnu.realsize).ok_or(malformed("bad size"))?;
        let mut map = Vec::new();
        let mut extended =
            sparse::gnu_map(&gnu.sparse, &mut map).map_err(malformed)? && gnu.is_extended();
        while extended {
            if map.len() > 2 * MAX_SEGMENTS {
                return Err(malformed("bad sparse map"));
            }
            let mut block = tar::GnuExtSparseHeader::new();
            if self.fill(block.as_mut_bytes())? != BLOCK {
                return Err(malformed("the archive is cut off"));
            }
            extended = sparse::gnu_map(block.sparse(), &mut map).map_err(malformed)?
                && block.is_extended();
        }
        let segments = sparse::segments(&map, self.unread, entry.size).map_err(malformed)?;
        entry.segments = Some(segments);
        Ok(())
    }

    /// The map of a sparse entry in one of the three forms GNU tar puts into PAX headers.
    fn pax_sparse(
        &mut self,
        entry: &mut Entry,
        pax: &BTreeMap<Vec<u8>, Vec<u8>>,
        pairs: Vec<u64>,
        start: u64,
    ) -> Result<()> {
        let malformed = |problem| LayerError::Malformed { offset: start, problem };
        let text = |key: &[u8]| pax.get(key).map(Vec::as_slice);
        let map = if text(b"GNU.sparse.major") == Some(b"1") {
            self.sparse_map_in_contents(start)?
        } else if let Some(map) = text(b"GNU.sparse.map") {
            let numbers = map.split(|byte| *byte == b',').map(pax::number);
            numbers.collect::<Option<_>>().ok_or(malformed("bad sparse map"))?
        } else if text(b"GNU.sparse.numblocks").is_some() {
            pairs
        } else {
            return Ok(());
        };
        let size = text(b"GNU.sparse.realsize").or(text(b"GNU.sparse.size"));
        entry.size = size.and_then(pax::number).ok_or(malformed("bad size"))?;
        if let Some(name) = text(b"GNU.sparse.name") {
            entry.name = name.to_vec();
        }
        let segments = sparse::segments(&map, self.unread, entry.size).map_err(malformed)?;
        entry.segments = Some(segments);
        Ok(())
    }

    /// A map in front of the contents: the number of segments, then offset and length of each, a
    /// number on every line, padded to a full block.
    fn sparse_map_in_contents(&mut self, start: u64) -> Result<Vec<u64>> {
        let malformed = |problem| LayerError::Malformed { offset: start, problem };
        let mut text = Vec::new();
        let mut map = Vec::new();
        let mut wanted = 1;
        let mut at = 0;
        while map.len() < wanted {
            let Some(line) = text[at..].iter().position(|byte| *byte == b'\n') else {
                let mut block = [0; BLOCK];
                if text.len() as u64 >= MAX_METADATA
                    || self.contents().read_exact(&mut block).is_err()
                {
                    return Err(malformed("bad sparse map"));
                }
                text.extend_from_slice(&block);
                continue;
            };
            let number = pax::number(&text[at..at + line]).ok_or(malformed("bad sparse map"))?;
            at += line + 1;
            if map.is_empty() {
                let pairs = usize::try_from(number).ok().filter(|pairs| *pairs <= MAX_SEGMENTS);
                wanted = 1 + 2 * pairs.ok_or(malformed("bad sparse map"))?;
            }
            map.push(number);
        }
        map.remove(0);
        Ok(map)
    }

    fn long_name(&mut self, size: u64, start: u64) -> Result<Vec<u8>> {
        let mut name = self.metadata(size, start)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The contents of an extension header.
    fn metadata(&mut self, size: u64, start: u64) -> Result<Vec<u8>> {
        if size > MAX_METADATA {
            return Err(LayerError::Malformed {
                offset: start,
                problem: "an extension header is too long",
            });
        }
        self.has_contents(size, start)?;
        let mut bytes = vec![0; size as usize];
        self.contents().read_exact(&mut bytes).map_err(stream)?;
        Ok(bytes)
    }

    /// `size` bytes of contents follow.
    fn has_contents(&mut self, size: u64, start: u64) -> Result<()> {
        // No stream is longer than a file can be; sums of offsets stay far from overflowing.
        if i64::try_from(size).is_err() {
            return Err(LayerError::Malformed { offset: start, problem: "bad size" });
        }
        (self.unread, self.padding) = (size, padding(size));
        Ok(())
    }

    /// Fills `buffer` as far as the stream goes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(stream(error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        let mut part = (&mut self.reader).take(length);
        let skipped = io::copy(&mut part, &mut io::sink()).map_err(stream)?;
        self.offset += skipped;
        // The zeros after the very last contents may be missing: nothing is lost with them.
        if skipped < length && length - skipped > self.padding {
            return Err(stream(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// See [`Archive::contents`].
pub(crate) struct Contents<'b, 'a>(&'b mut Archive<'a>);

impl Read for Contents<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.0.unread).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.0.reader.read(&mut buffer[..length])?;
        self.0.unread -= read as u64;
        self.0.offset += read as u64;
        Ok(read)
    }
}

impl Extensions {
    fn take_pax(&mut self, records: &[u8]) -> Result<(), &'static str> {
        for record in pax::parse(records) {
            let (key, value) = record.ok_or("bad PAX record")?;
            if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
                // They come in turns; anything else does not make a map.
                let is_offset = key == b"GNU.sparse.offset";
                if is_offset != self.sparse_map.len().is_multiple_of(2) {
                    return Err("bad sparse map");
                }
                self.sparse_map.push(pax::number(value).ok_or("bad sparse map")?);
            } else {
                self.pax.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }
}

fn xattrs(pax: &BTreeMap<Vec<u8>, Vec<u8>>) -> Xattrs {
    let xattr = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let name = OsString::from_vec(key.strip_prefix(XATTR)?.to_vec());
        Some((name, value.clone()))
    };
    pax.iter().filter_map(xattr).filter(|(name, _)| crate::xattr::is_kept(name)).collect()
}

/// Whether a header block holds the sum of its own bytes. Some old writers summed them as signed.
pub(crate) fn checksum_matches(block: &[u8]) -> bool {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let Some(expected) = numeric::parse(&header.as_old().cksum) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (index, byte) in block.iter().enumerate() {
        // The field itself counts as blanks.
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    unsigned == expected || signed == expected
}

fn stream(source: io::Error) -> LayerError {
    LayerError::Stream { action: "read the archive", source }
}
