//! The table of contents of a zstd:chunked stream, and the frames at its end.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_oci::Digest;
use serde::Serialize;

use super::scan::{Header, Time};
use super::split::Packed;
use super::{compress, estargz, is_none};

/// What a frame begins with that every decoder skips; the number of its bytes follows.
const SKIPPED: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// What the footer ends with.
const MAGIC: [u8; 8] = *b"GNUlInUx";
/// Bytes of the footer, and of a frame's head.
const FOOTER: usize = 64;
const HEAD: usize = 8;
/// The kind of table: that of CRFS, as JSON.
const CRFS: u64 = 1;
/// The first second of the year 1: Go's tools take what is before for no time, or for no JSON.
const FIRST_SECOND: i64 = -62_135_596_800;

/// What a manifest says of the layer: where the table is, and what its digest is.
const CHECKSUM: [&str; 2] = [
    "io.github.containers.zstd-chunked.manifest-checksum",
    // As podman up to 4.3 knows it.
    "io.containers.zstd-chunked.manifest-checksum",
];
const POSITION: [&str; 2] = [
    "io.github.containers.zstd-chunked.manifest-position",
    "io.containers.zstd-chunked.manifest-position",
];
const SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// The same of eStargz.
const TABLE_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";

/// The files of a layer.
#[derive(Default)]
pub(super) struct Toc {
    files: Vec<File>,
    /// A time cannot be said in the table.
    has_odd_time: bool,
}

struct File {
    header: Header,
    digest: Option<Digest>,
    pieces: Vec<Piece>,
    /// Where its last frame ends.
    end: u64,
}

/// A part of a file that is a frame.
pub(super) struct Piece {
    /// Where the frame begins.
    pub(super) offset: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    pub(super) digest: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    version: u32,
    entries: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tar_split_digest: Option<Digest>,
}

/// A file, or a further piece of it.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    link_name: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    mode: i64,
    #[serde(skip_serializing_if = "is_none")]
    size: u64,
    #[serde(skip_serializing_if = "is_none")]
    uid: u32,
    #[serde(skip_serializing_if = "is_none")]
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accesstime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changetime: Option<String>,
    #[serde(skip_serializing_if = "is_none")]
    dev_major: i64,
    #[serde(skip_serializing_if = "is_none")]
    dev_minor: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "is_none")]
    offset: u64,
    #[serde(skip_serializing_if = "is_none")]
    end_offset: u64,
    #[serde(skip_serializing_if = "is_none")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "is_none")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<Digest>,
}

impl Toc {
    /// Adds a file.
    pub(super) fn push(&mut self, header: Header) {
        let times = [Some(header.modified), header.accessed, header.changed];
        self.has_odd_time |= times.into_iter().flatten().any(|time| text(time).is_none());
        self.files.push(File { header, digest: None, pieces: Vec::new(), end: 0 });
    }

    /// The number of the last file.
    pub(super) fn last(&self) -> usize {
        self.files.len().saturating_sub(1)
    }

    /// The last file is complete: its name and size. Of one piece, that has the digest.
    pub(super) fn close(&mut self, digest: Option<Digest>) -> (&str, u64) {
        match self.files.last_mut() {
            None => ("", 0),
            Some(file) => {
                file.digest = digest;
                (file.header.name.as_str(), file.header.size)
            }
        }
    }

    /// A piece of the file number `file` is where it is, and ends at `end`.
    pub(super) fn place(&mut self, file: usize, piece: Piece, end: u64) {
        let Some(file) = self.files.get_mut(file) else { return };
        file.pieces.push(piece);
        file.end = end;
    }

    /// Whether it says something twice, or cannot say something.
    pub(super) fn is_wrong(&self) -> bool {
        let clean = |file: &File| {
            let parts = file.header.name.split('/').filter(|part| !matches!(*part, "" | "."));
            parts.fold(String::new(), |path, part| path + "/" + part)
        };
        let names: HashSet<String> = self.files.iter().map(clean).collect();
        self.has_odd_time || names.len() < self.files.len()
    }

    /// The table of eStargz, whose last pieces have no size.
    pub(super) fn lines(&self) -> io::Result<Vec<u8>> {
        let entries = self.files.iter().flat_map(|file| {
            let mut entries = file.entries();
            for (entry, piece) in entries.iter_mut().zip(&file.pieces) {
                entry.chunk_digest = Some(piece.digest);
                entry.end_offset = 0;
            }
            if let Some(last) = entries.last_mut() {
                last.chunk_size = 0;
            }
            entries
        });
        let document = Document { version: 1, entries: entries.collect(), tar_split_digest: None };
        Ok(serde_json::to_vec(&document)?)
    }

    /// The frames that follow `written` bytes of the stream.
    pub(super) fn frames(
        &self,
        written: u64,
        split: &Packed,
        level: i32,
    ) -> io::Result<[Vec<u8>; 3]> {
        let entries = self.files.iter().flat_map(File::entries).collect();
        let tar_split_digest = Some(Digest::of(&split.bytes));
        let document = Document { version: 1, entries, tar_split_digest };
        let document = serde_json::to_vec(&document)?;
        let table = compress(&document, level)?;
        let at = written + HEAD as u64;
        let split_at = at + (table.len() + HEAD) as u64;
        let footer = [
            at,
            table.len() as u64,
            document.len() as u64,
            CRFS,
            split_at,
            split.bytes.len() as u64,
            split.size,
            u64::from_le_bytes(MAGIC),
        ];
        let footer = footer.map(u64::to_le_bytes).concat();
        Ok([skipped(&table)?, skipped(&split.bytes)?, skipped(&footer)?])
    }
}

impl File {
    fn entries(&self) -> Vec<Entry<'_>> {
        let Header { name, link, xattrs, .. } = &self.header;
        let (name, link) = (name.as_str(), link.as_str());
        let several = self.pieces.len() > 1;
        let xattrs = xattrs.iter().map(|(name, value)| (name.as_str(), STANDARD.encode(value)));
        let mut entries = vec![Entry {
            r#type: self.header.kind,
            name,
            link_name: link,
            mode: self.header.mode,
            size: self.header.size,
            uid: self.header.uid,
            gid: self.header.gid,
            modtime: text(self.header.modified),
            accesstime: self.header.accessed.and_then(text),
            changetime: self.header.changed.and_then(text),
            dev_major: self.header.device.0,
            dev_minor: self.header.device.1,
            xattrs: xattrs.collect(),
            digest: self.digest.or(self.pieces.first().map(|piece| piece.digest)),
            end_offset: self.end,
            ..Entry::default()
        }];
        let mut chunk_offset = 0;
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 {
                entries.push(Entry { r#type: "chunk", name, chunk_offset, ..Entry::default() });
            }
            let entry = &mut entries[number];
            entry.offset = piece.offset;
            if several {
                entry.chunk_size = piece.size;
                entry.chunk_digest = Some(piece.digest);
            }
            chunk_offset += piece.size;
        }
        entries
    }
}

/// A frame that decoders skip.
fn skipped(data: &[u8]) -> io::Result<Vec<u8>> {
    let size = u32::try_from(data.len()).map_err(|_| io::Error::other("too many files"))?;
    Ok([&SKIPPED[..], &size.to_le_bytes(), data].concat())
}

/// A time as Go writes it in JSON.
fn text((seconds, nanos): Time) -> Option<String> {
    let time = jiff::Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    (seconds >= FIRST_SECOND).then(|| time.to_string())
}

/// What a manifest has to say of the layer in `blob`, zstd:chunked or eStargz, so that others find its table: annotations of its
/// descriptor. Nothing: it has no table.
///
/// # Errors
/// What reading it met.
pub fn positions(blob: &mut (impl Read + Seek)) -> io::Result<BTreeMap<String, String>> {
    let none = Ok(BTreeMap::new());
    let size = blob.seek(SeekFrom::End(0))?;
    if let Some(digest) = estargz::table_digest(blob, size)? {
        return Ok([(TABLE_DIGEST.to_owned(), digest.to_string())].into());
    }
    let Some(start) = size.checked_sub((HEAD + FOOTER) as u64) else { return none };
    blob.seek(SeekFrom::Start(start))?;
    let mut footer = [0; HEAD + FOOTER];
    blob.read_exact(&mut footer)?;
    let (head, footer) = footer.split_at(HEAD);
    let (words, _) = footer.as_chunks::<8>();
    let [at, length, whole, kind, split_at, split_length, split_whole] =
        std::array::from_fn(|word| u64::from_le_bytes(words[word]));
    let is_footer = head.starts_with(&SKIPPED) && words[7] == MAGIC && kind == CRFS;
    if !is_footer || at.checked_add(length).is_none_or(|end| end > start) {
        return none;
    }
    blob.seek(SeekFrom::Start(at))?;
    let mut table = Vec::new();
    blob.take(length).read_to_end(&mut table)?;
    let digest = Digest::of(&table).to_string();
    let position = format!("{at}:{length}:{whole}:{kind}");
    let split = (SPLIT_POSITION.to_owned(), format!("{split_at}:{split_length}:{split_whole}"));
    let mut said = BTreeMap::from([split]);
    said.extend(CHECKSUM.map(|key| (key.to_owned(), digest.clone())));
    said.extend(POSITION.map(|key| (key.to_owned(), position.clone())));
    Ok(said)
}
