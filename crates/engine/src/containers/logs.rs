//! A container's output on disk: one JSON object for each line, in the form of docker's
//! `json-file` driver, which log shippers know.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bld_event::{Cancel, Stream};
use serde::{Deserialize, Serialize};

use super::logging::LogBound;
use crate::error::IoContext as _;
use crate::rotated::{self, Lines};
use crate::watch::Watch;
use crate::{Engine, EngineError, Result};

/// A line that grows longer than this is written in pieces, as docker does.
const LONGEST_PIECE: usize = 16 << 10;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The text with its newline; a piece of a very long line has none.
    #[serde(rename = "log")]
    pub text: String,
    /// Where it was written to.
    pub stream: Stream,
    /// When it was written.
    #[serde(with = "crate::time")]
    pub time: SystemTime,
}

/// What of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Go on with what is written until the container ends.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail: Option<usize>,
    /// Only lines from this time on.
    pub since: Option<SystemTime>,
    /// Only lines before this time.
    pub until: Option<SystemTime>,
    /// Nobody waits for more once this is canceled.
    pub cancel: Cancel,
}

/// Appends to a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    file: File,
    /// Bytes of the file.
    size: u64,
    bound: LogBound,
    /// Lines that are not complete, by stream.
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    /// The log in `path`, made when missing.
    pub(super) fn open(path: &Path, bound: LogBound) -> Result<Self> {
        let file = append_to(path).at("open", path)?;
        let size = file.metadata().at("look at", path)?.len();
        let partial = <[Vec<u8>; 2]>::default();
        Ok(Self { path: path.to_owned(), file, size, bound, partial })
    }

    /// Adds what was written to `stream`.
    pub(super) fn write(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let which = usize::from(stream == Stream::Stderr);
        let mut records = Vec::new();
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            self.partial[which].extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial[which].len() >= LONGEST_PIECE {
                let text = std::mem::take(&mut self.partial[which]);
                self.add(&mut records, stream, &text)?;
            }
        }
        self.flush(&mut records)
    }

    /// Adds one record to those that are to be written, which are written first where the file is
    /// full with them.
    fn add(&mut self, records: &mut Vec<u8>, stream: Stream, text: &[u8]) -> io::Result<()> {
        let before = records.len();
        record(records, stream, text)?;
        let full = self.bound.size.is_some_and(|most| self.size + records.len() as u64 > most);
        if full && self.size + before as u64 > 0 {
            let rest = records.split_off(before);
            self.flush(records)?;
            rotated::put_aside(&self.path, self.bound.files)?;
            self.file = append_to(&self.path)?;
            self.size = 0;
            *records = rest;
        }
        Ok(())
    }

    /// Writes records, all at once: readers never see half of one.
    fn flush(&mut self, records: &mut Vec<u8>) -> io::Result<()> {
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        records.clear();
        Ok(())
    }

    /// Adds what is left of lines without an end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut records = Vec::new();
        let partial = std::mem::take(&mut self.partial);
        for (stream, text) in [Stream::Stdout, Stream::Stderr].into_iter().zip(partial) {
            if !text.is_empty() {
                self.add(&mut records, stream, &text)?;
            }
        }
        self.flush(&mut records)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn record(records: &mut Vec<u8>, stream: Stream, text: &[u8]) -> io::Result<()> {
    let text = String::from_utf8_lossy(text).into_owned();
    serde_json::to_writer(&mut *records, &LogEntry { text, stream, time: SystemTime::now() })?;
    records.push(b'\n');
    Ok(())
}

impl Engine {
    /// Where the log of the container `id` is.
    pub fn log_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.container_dir(id)?.join(format!("{id}-json.log")))
    }

    /// Hands out the log of a container, line by line, until it ends or `visit` breaks off.
    pub fn container_logs(
        &self,
        name: &str,
        query: &LogQuery,
        visit: &mut dyn FnMut(LogEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let container = self.find_container(name)?;
        if container.host.log == super::LogDriver::None {
            return Err(EngineError::NoLog { container: container.name });
        }
        let path = self.log_path(&container.id)?;
        if query.follow {
            // It comes with the container's start, to be waited for.
            drop(append_to(&path).at("open", &path)?);
        }
        let lines = match query.tail {
            Some(count) => Lines::tail(&path, count),
            None => Lines::from_start(&path),
        };
        let mut lines = lines.at("read", &path)?;
        let mut watch = Watch::new(&path);
        let mut ended = !query.follow;
        loop {
            let mut is_new = false;
            while let Some(line) = lines.next().at("read", &path)? {
                is_new = true;
                // A line that is no record of ours is damage that must not hide the rest.
                if let Ok(entry) = serde_json::from_slice::<LogEntry>(&line) {
                    let late = query.until.is_some_and(|until| entry.time >= until);
                    let early = query.since.is_some_and(|since| entry.time < since);
                    if late || (!early && visit(entry).is_break()) {
                        return Ok(());
                    }
                }
            }
            if ended || query.cancel.is_canceled() {
                return Ok(());
            }
            if is_new {
                // The file may be another one by now.
                watch = Watch::new(&path);
                continue;
            }
            // Looked at before the last read: what was written until then is read now.
            ended = !self.is_running(&container.id)?;
            if !ended {
                watch.wait(Watch::MOMENT);
            }
        }
    }

    fn is_running(&self, id: &str) -> Result<bool> {
        match self.find_container(id) {
            Ok(container) => Ok(container.state.is_running()),
            Err(EngineError::NoSuchContainer { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<(Stream, String)> {
        let lines = std::fs::read_to_string(path).unwrap();
        let entries = lines.lines().map(|line| serde_json::from_str::<LogEntry>(line).unwrap());
        entries.map(|entry| (entry.stream, entry.text)).collect()
    }

    #[test]
    fn lines_are_whole_and_streams_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path, LogBound::default()).unwrap();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"err\n").unwrap();
        log.write(Stream::Stdout, b"o\nrest").unwrap();
        log.finish().unwrap();
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(
            texts(&path),
            [
                (out, "one\n".into()),
                (err, "err\n".into()),
                (out, "two\n".into()),
                (out, "rest".into())
            ]
        );
    }

    #[test]
    fn a_full_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let bound = LogBound { size: Some(1000), files: 3 };
        let mut log = LogWriter::open(&path, bound).unwrap();
        let lines = (0..100).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
        log.write(Stream::Stdout, lines.as_bytes()).unwrap();
        drop(log);
        let mut log = LogWriter::open(&path, bound).unwrap();
        log.write(Stream::Stdout, b"end\n").unwrap();
        log.finish().unwrap();
        assert!(!rotated::aside(&path, 3).exists());
        let kept: Vec<_> = (0..3).rev().flat_map(|n| texts(&rotated::aside(&path, n))).collect();
        let first = 101 - kept.len();
        let expected = (first..100).map(|n| format!("{n}\n")).chain(["end\n".to_owned()]);
        assert_eq!(
            kept.into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        for number in 0..3 {
            let size = std::fs::metadata(rotated::aside(&path, number)).unwrap().len();
            assert!((80..=1000).contains(&size), "{size}");
        }
    }
}
