//! A container's output on disk: one JSON object for each line, in the form of docker's
//! `json-file` driver, which log shippers know.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bld_event::Stream;
use serde::{Deserialize, Serialize};

use crate::error::IoContext as _;
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
}

/// Appends to a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: File,
    /// Lines that are not complete, by stream.
    partial: [Vec<u8>; 2],
}

impl LogWriter {
    /// The log in `path`, made when missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).at("open", path)?;
        Ok(Self { file, partial: <[Vec<u8>; 2]>::default() })
    }

    /// Adds what was written to `stream`.
    pub(super) fn write(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let partial = &mut self.partial[usize::from(stream == Stream::Stderr)];
        let mut records = Vec::new();
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() >= LONGEST_PIECE {
                record(&mut records, stream, partial)?;
                partial.clear();
            }
        }
        // One write for whole records: readers never see half of one.
        self.file.write_all(&records)
    }

    /// Adds what is left of lines without an end.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for (stream, partial) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&self.partial) {
            if !partial.is_empty() {
                record(&mut records, stream, partial)?;
            }
        }
        self.file.write_all(&records)
    }
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
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && !query.follow => return Ok(()),
            // It comes with the container's start, to be waited for.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                LogWriter::open(&path)?;
                File::open(&path).at("open", &path)?
            }
            Err(error) => return Err(error).at("open", &path),
        };
        if let Some(lines) = query.tail {
            seek_tail(&mut file, lines).at("read", &path)?;
        }
        let mut watch = Watch::new(&path);
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut ended = !query.follow;
        loop {
            let length = reader.read_until(b'\n', &mut line).at("read", &path)?;
            if line.ends_with(b"\n") {
                // A line that is no record of ours is damage that must not hide the rest.
                if let Ok(entry) = serde_json::from_slice::<LogEntry>(&line) {
                    let late = query.until.is_some_and(|until| entry.time >= until);
                    let early = query.since.is_some_and(|since| entry.time < since);
                    if late || (!early && visit(entry).is_break()) {
                        return Ok(());
                    }
                }
                line.clear();
            } else if length == 0 {
                if ended {
                    return Ok(());
                }
                // Looked at before the last read: what was written until then is read now.
                ended = !self.is_running(&container.id)?;
                if !ended {
                    watch.wait(Watch::MOMENT);
                }
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

/// Puts `file` at its last `lines` lines.
fn seek_tail(file: &mut File, lines: usize) -> io::Result<()> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    // The newline at the very end ends the last line; it begins none.
    let mut wanted = lines + 1;
    let mut block = VecDeque::with_capacity(BLOCK as usize);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.resize((end - start) as usize, 0);
        file.read_exact(block.make_contiguous())?;
        for (index, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                wanted -= 1;
                if wanted == 0 {
                    file.seek(SeekFrom::Start(start + index as u64 + 1))?;
                    return Ok(());
                }
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0)).map(drop)
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
        let mut log = LogWriter::open(&path).unwrap();
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
    fn the_tail_is_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(1000);
        let lines: Vec<_> = (0..200).map(|n| format!("{n} {line}")).collect();
        let text = lines.join("\n") + "\n";
        std::fs::write(&path, &text).unwrap();
        for (lines, first) in [(1, Some("199")), (150, Some("50")), (500, Some("0")), (0, None)] {
            let mut file = File::open(&path).unwrap();
            seek_tail(&mut file, lines).unwrap();
            let mut rest = String::new();
            file.read_to_string(&mut rest).unwrap();
            assert_eq!(rest.split(' ').next().filter(|word| !word.is_empty()), first, "{lines}");
        }
    }
}
