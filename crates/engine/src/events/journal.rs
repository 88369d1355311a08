//! The journal: lines of JSON in `events.log`, and those before them in `events.log.1`.
//!
//! A writer holds the lock of the file while it appends, so the lines are in the order of their times.
//! When the file has grown enough it takes the place of the older one, which is forgotten.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Event;
use crate::rotated::{Lines, inode, put_aside};

/// Bytes after which a file is full. Some thousand events.
const FULL: u64 = 1 << 20;

/// How many files there are at most.
const FILES: u32 = 2;

/// Where events are appended to, in the store's root.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join("events.log")
}

/// Appends events, all of which happen now.
pub(super) fn append(root: &Path, events: impl IntoIterator<Item = Event>) -> io::Result<()> {
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        return Ok(());
    }
    let mut file = newest(root)?;
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, &event.at(SystemTime::now()))?;
        lines.push(b'\n');
    }
    // Who was killed while writing has left half a line.
    if file.metadata()?.len() > 0 && !ends_with_newline(&file)? {
        lines.insert(0, b'\n');
    }
    file.write_all(&lines)
}

/// The file to append to, locked.
fn newest(root: &Path) -> io::Result<File> {
    let path = path(root);
    loop {
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        file.lock()?;
        // Another writer may have put it aside while we waited.
        if inode(&path) != Some(file.metadata()?.ino()) {
            continue;
        }
        if file.metadata()?.len() < FULL {
            return Ok(file);
        }
        put_aside(&path, FILES)?;
    }
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    file.read_exact_at(&mut last, file.metadata()?.len() - 1)?;
    Ok(last == *b"\n")
}

/// Reads events in their order.
pub(super) struct Reader(Lines);

impl Reader {
    /// Begins with the oldest event that is known.
    pub(super) fn from_start(root: &Path) -> io::Result<Self> {
        Lines::from_start(&path(root)).map(Self)
    }

    /// Begins with what happens from now on.
    pub(super) fn from_end(root: &Path) -> io::Result<Self> {
        Lines::tail(&path(root), 0).map(Self)
    }

    /// The next event; none when nothing more has happened yet.
    pub(super) fn next(&mut self) -> io::Result<Option<Event>> {
        while let Some(line) = self.0.next()? {
            // A line that is no event is damage that must not hide the rest.
            if let Ok(event) = serde_json::from_slice(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::super::Subject;
    use super::*;
    use crate::rotated::aside;

    fn older(root: &Path) -> PathBuf {
        aside(&path(root), 1)
    }

    fn event(number: usize) -> Event {
        Event::new(Subject::Volume, "create", number.to_string())
    }

    fn numbers(reader: &mut Reader) -> Vec<usize> {
        let events = std::iter::from_fn(|| reader.next().unwrap());
        events.map(|event| event.actor.id.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_is_missed_where_files_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut follower = Reader::from_end(root).unwrap();
        assert!(numbers(&mut follower).is_empty());
        let mut seen = Vec::new();
        let mut written = 0;
        while !older(root).exists() {
            append(root, (written..written + 50).map(event)).unwrap();
            written += 50;
            if written % 1000 == 0 {
                seen.extend(numbers(&mut follower));
            }
        }
        append(root, [event(written)]).unwrap();
        seen.extend(numbers(&mut follower));
        assert_eq!(seen, (0..=written).collect::<Vec<_>>());
        let mut late = Reader::from_start(root).unwrap();
        assert_eq!(numbers(&mut late), seen);

        for _ in 0..4 {
            let batch = (0..written / 2).map(|n| event(n + written + 1));
            append(root, batch).unwrap();
        }
        let sizes = [path(root), older(root)].map(|path| std::fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size < 2 * FULL), "{sizes:?}");
        assert!(!numbers(&mut Reader::from_start(root).unwrap()).contains(&0));
    }

    #[test]
    fn half_a_line_costs_one_event() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), [event(1)]).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(dir.path())).unwrap();
        file.write_all(b"{\"Type\":").unwrap();
        append(dir.path(), [event(2)]).unwrap();
        assert_eq!(numbers(&mut Reader::from_start(dir.path()).unwrap()), vec![1, 2]);
    }
}
