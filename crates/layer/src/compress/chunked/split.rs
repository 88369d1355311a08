//! The headers of a tar in the form of tar-split: lines of JSON, by which the tar can be put together again
//! from its files to the byte.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::is_none;

/// Types of lines.
const FILE: u8 = 1;
const SEGMENT: u8 = 2;

#[derive(Serialize)]
struct Line<'a> {
    r#type: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    size: u64,
    /// Bytes of the tar, or the checksum of the file.
    payload: Option<String>,
    position: u64,
}

/// Lines, compressed as they come.
pub(super) struct Split {
    out: zstd::stream::write::Encoder<'static, Vec<u8>>,
    size: u64,
    lines: u64,
}

/// All lines, compressed.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// Bytes of the lines.
    pub(super) size: u64,
}

impl Split {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let out = zstd::stream::write::Encoder::new(Vec::new(), level)?;
        Ok(Self { out, size: 0, lines: 0 })
    }

    /// Bytes that are no contents.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.line(SEGMENT, "", 0, Some(bytes))
    }

    /// A file, with the checksum of its contents if it has any.
    pub(super) fn file(&mut self, name: &str, size: u64, sum: Option<[u8; 8]>) -> io::Result<()> {
        self.line(FILE, name, size, sum.as_ref().map(<[u8; 8]>::as_slice))
    }

    fn line(
        &mut self,
        r#type: u8,
        name: &str,
        size: u64,
        payload: Option<&[u8]>,
    ) -> io::Result<()> {
        let payload = payload.map(|bytes| STANDARD.encode(bytes));
        let line = Line { r#type, name, size, payload, position: self.lines };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        self.lines += 1;
        self.size += line.len() as u64;
        self.out.write_all(&line)
    }

    pub(super) fn finish(self) -> io::Result<Packed> {
        Ok(Packed { bytes: self.out.finish()?, size: self.size })
    }
}
