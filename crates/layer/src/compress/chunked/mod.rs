//! zstd:chunked and eStargz: streams in which every file can be had by itself.
//!
//! # zstd:chunked
//!
//! The stream is that of the tar and nothing else. The contents of each file are frames of their own, cut
//! into pieces by size, and at the end is what says where they are, in frames that every decoder skips: the
//! table of contents, the headers in tar-split's form, and a footer that leads to both. Follows what
//! containers/storage writes and reads, except that it cuts files where their contents say so.
//!
//! A tar with anything in it that the table has no words for, such as a name that is no text, gets none: it
//! is an ordinary zstd stream then.
//!
//! # eStargz
//!
//! The same with members of gzip, after [estargz.md] of stargz-snapshotter. Gzip has nothing that decoders skip, so
//! the table is a file of the tar, its last one, and another file says that none is to be fetched in
//! advance: the stream is that of another tar than the one that was written. A tar that the table has no words
//! for is refused.
//!
//! [estargz.md]: https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md

mod crc;
mod estargz;
mod scan;
mod split;
mod toc;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};

use bld_oci::{Digest, Hasher};

use super::encode::invalid_level;
use super::gzip::wait;
use scan::{Found, Scanner};
use split::Split;
use toc::{Piece, Toc};

pub use toc::positions;

/// What the pieces of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames of zstd of this level.
    Zstd(i32),
    /// Members of gzip of this level.
    Estargz(u32),
}

impl Form {
    /// The most bytes in a piece. Part of the format: another size gives other bytes.
    fn piece(self) -> usize {
        match self {
            Self::Zstd(_) => 1 << 20,
            Self::Estargz(_) => 4 << 20,
        }
    }

    fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(level) => compress(bytes, level),
            Self::Estargz(level) => estargz::member(bytes, level),
        }
    }
}

/// More bytes than these after the last file are not kept for the headers.
const TAIL_MAX: usize = 1 << 20;

pub(super) struct Encoder<W> {
    out: W,
    /// Bytes written.
    written: u64,
    form: Form,
    scanner: Scanner,
    /// What is said at the end; none if it cannot be said.
    table: Option<Table>,
    /// Bytes for the next frame.
    piece: Vec<u8>,
    /// Frames being made, in the order of the stream.
    pending: VecDeque<Receiver<io::Result<Frame>>>,
    limit: usize,
}

/// What is known of the files so far.
struct Table {
    toc: Toc,
    /// Of zstd:chunked.
    split: Option<Split>,
    /// The contents that come now.
    file: Option<Contents>,
    /// What came after the last file.
    tail: Vec<u8>,
}

struct Contents {
    crc: crc::Crc64,
    /// Of a file of several pieces.
    hasher: Option<Hasher>,
}

/// A frame, and which file it is a piece of.
struct Frame {
    bytes: Vec<u8>,
    piece: Option<(usize, Piece)>,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(out: W, form: Form) -> io::Result<Self> {
        let split = match form {
            Form::Zstd(0) | Form::Estargz(10..) => return Err(invalid_level()),
            Form::Zstd(level) if !zstd::compression_level_range().contains(&level) => {
                return Err(invalid_level());
            }
            Form::Zstd(level) => Some(Split::new(level)?),
            Form::Estargz(_) => None,
        };
        let table = Table { toc: Toc::default(), split, file: None, tail: Vec::new() };
        let mut encoder = Self {
            out,
            written: 0,
            form,
            scanner: Scanner::default(),
            table: Some(table),
            piece: Vec::new(),
            pending: VecDeque::new(),
            limit: 2 * rayon::current_num_threads() + 2,
        };
        if matches!(form, Form::Estargz(_)) {
            encoder.write_all(&estargz::landmark())?;
        }
        Ok(encoder)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        let rest = self.scanner.take_raw();
        self.plain(&rest)?;
        self.dispatch(None)?;
        while !self.pending.is_empty() {
            self.collect()?;
        }
        let is_at_end = self.scanner.is_at_end();
        let table = self.table.take().filter(|table| {
            is_at_end && table.tail.iter().all(|byte| *byte == 0) && !table.toc.is_wrong()
        });
        match (self.form, table) {
            (Form::Zstd(level), Some(Table { toc, split: Some(mut split), tail, .. })) => {
                split.segment(&tail)?;
                for frame in toc.frames(self.written, &split.finish()?, level)? {
                    self.out.write_all(&frame)?;
                }
            }
            (Form::Zstd(_), _) => {}
            (Form::Estargz(level), Some(Table { toc, .. })) => {
                self.out.write_all(&estargz::end(&toc.lines()?, self.written, level)?)?;
            }
            (Form::Estargz(_), None) => {
                let problem =
                    "the layer has a name, a file or a time that eStargz has no words for";
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        }
        Ok(self.out)
    }

    /// Takes bytes that are no contents.
    fn plain(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.form.piece() - self.piece.len());
            self.piece.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.piece.len() == self.form.piece() {
                self.dispatch(None)?;
            }
        }
        Ok(())
    }

    /// Takes a header, with what is before it.
    fn header(&mut self, header: scan::Header) -> io::Result<()> {
        let raw = self.scanner.take_raw();
        self.plain(&raw)?;
        if header.size > 0 {
            self.dispatch(None)?;
        }
        let several = header.size > self.form.piece() as u64;
        let Some(table) = &mut self.table else { return Ok(()) };
        if let Some(split) = &mut table.split {
            split.segment(&raw)?;
            if header.size == 0 {
                split.file(&header.name, 0, None)?;
            }
        }
        if header.size > 0 {
            let hasher = several.then(Hasher::new);
            table.file = Some(Contents { crc: crc::Crc64::default(), hasher });
        }
        table.toc.push(header);
        Ok(())
    }

    /// Takes contents of the current file, which end with them if it `is_last`.
    fn contents(&mut self, mut bytes: &[u8], is_last: bool) -> io::Result<()> {
        let file = self.table.as_ref().map(|table| table.toc.last());
        if let Some(contents) = self.table.as_mut().and_then(|table| table.file.as_mut()) {
            contents.crc.update(bytes);
            if let Some(hasher) = &mut contents.hasher {
                hasher.update(bytes);
            }
        }
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.form.piece() - self.piece.len());
            self.piece.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.piece.len() == self.form.piece() || (is_last && bytes.is_empty()) {
                self.dispatch(file)?;
            }
        }
        if is_last
            && let Some(table) = &mut self.table
            && let Some(contents) = table.file.take()
        {
            let digest = contents.hasher.map(Hasher::finish);
            let (name, size) = table.toc.close(digest);
            if let Some(split) = &mut table.split {
                split.file(name, size, Some(contents.crc.finish()))?;
            }
        }
        Ok(())
    }

    /// Has a frame made of the bytes that are there, which are contents of the file number `file`.
    fn dispatch(&mut self, file: Option<usize>) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        if self.pending.len() >= self.limit {
            self.collect()?;
        }
        let piece = std::mem::take(&mut self.piece);
        let form = self.form;
        let (sender, receiver) = sync_channel(1);
        self.pending.push_back(receiver);
        rayon::spawn(move || {
            // A panic in the pool would end the process; here it only ends this stream.
            let made = catch_unwind(AssertUnwindSafe(|| {
                let of_file = |file: usize| {
                    let (size, digest) = (piece.len() as u64, Digest::of(&piece));
                    (file, Piece { size, digest, offset: 0 })
                };
                form.compress(&piece).map(|bytes| Frame { bytes, piece: file.map(of_file) })
            }));
            let made = made.unwrap_or_else(|_| Err(io::Error::other("the compressor panicked")));
            // Nobody listens when the encoder was dropped; then nobody needs the frame either.
            let _ = sender.send(made);
        });
        Ok(())
    }

    /// Writes the oldest pending frame.
    fn collect(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else { return Ok(()) };
        let gone = || io::Error::other("the compressor went away");
        let Frame { bytes, piece } = wait(&receiver).ok_or_else(gone)??;
        self.out.write_all(&bytes)?;
        let offset = self.written;
        self.written += bytes.len() as u64;
        if let (Some(table), Some((file, piece))) = (&mut self.table, piece) {
            table.toc.place(file, Piece { offset, ..piece }, self.written);
        }
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.scanner.next(&mut rest) {
                Found::Header(header) => self.header(*header)?,
                Found::Contents(part, is_last) => self.contents(part, is_last)?,
                Found::Tail(part) => {
                    let mut raw = self.scanner.take_raw();
                    if matches!(self.form, Form::Estargz(_)) {
                        // More is to come: only what belongs to the last file stays.
                        raw.truncate(raw.len().saturating_sub(crate::archive::BLOCK));
                        self.plain(&raw)?;
                        continue;
                    }
                    for part in [&raw[..], part] {
                        self.plain(part)?;
                        if let Some(table) = &mut self.table {
                            table.tail.extend_from_slice(part);
                        }
                    }
                    self.table = self.table.take().filter(|table| table.tail.len() <= TAIL_MAX);
                }
                Found::Unknown(part) => {
                    self.table = None;
                    let raw = self.scanner.take_raw();
                    self.plain(&raw)?;
                    self.plain(part)?;
                }
                Found::Nothing => {}
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a field of a document is not worth a word.
fn is_none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One frame. Which thread makes it, and what it made before, shows in no byte.
fn compress(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    thread_local! {
        static MADE: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> =
            const { RefCell::new(None) };
    }
    MADE.with_borrow_mut(|made| {
        if made.as_ref().is_none_or(|(known, _)| *known != level) {
            *made = Some((level, zstd::bulk::Compressor::new(level)?));
        }
        let Some((_, compressor)) = made else { return Err(invalid_level()) };
        compressor.compress(bytes)
    })
}
