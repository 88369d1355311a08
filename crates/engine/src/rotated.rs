//! Lines in files that are put aside when they are full: `PATH`, and before it `PATH.1`, `PATH.2` and so on,
//! the highest number being the oldest.
//!
//! Whoever writes puts files aside, which only changes their names. A reader has its file open, and sees by
//! the inode behind `PATH` that it is not the newest any more.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The name of the file that was put aside `number` times.
pub(crate) fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// Makes room for a new `path`, so that with it there are at most `files`.
pub(crate) fn put_aside(path: &Path, files: u32) -> io::Result<()> {
    let last = files.max(1) - 1;
    // More of them are there where there were to be more.
    for number in last.. {
        match fs::remove_file(aside(path, number)) {
            Err(error) if error.kind() == ErrorKind::NotFound && number == last => {}
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            removed => removed?,
        }
    }
    for number in (0..last).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() == ErrorKind::NotFound && number > 0 => {}
            renamed => renamed?,
        }
    }
    Ok(())
}

/// What tells the file behind `path` from others.
pub(crate) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|stat| stat.ino())
}

type Opened = (File, u64);

/// All files, the oldest first.
fn chain(path: &Path) -> io::Result<VecDeque<Opened>> {
    let mut files: VecDeque<Opened> = VecDeque::new();
    let mut missing = 0;
    // Names only ever become higher: one that is met twice is left out, and none is missed. One name may
    // be missing, while files are put aside.
    for number in 0.. {
        match File::open(aside(path, number)) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                if files.iter().all(|(_, known)| *known != inode) {
                    files.push_front((file, inode));
                }
                missing = 0;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing += 1;
                if missing > 1 {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Reads lines in their order.
pub(crate) struct Lines {
    path: PathBuf,
    file: Option<(BufReader<File>, u64)>,
    /// Files that come after it.
    next: VecDeque<Opened>,
    line: Vec<u8>,
    /// The file was put aside; what was written before that is still to be read.
    is_last_look: bool,
}

impl Lines {
    /// From the oldest line on.
    pub(crate) fn from_start(path: &Path) -> io::Result<Self> {
        Ok(Self::of(path, chain(path)?))
    }

    /// Only the last `lines`, and what comes after them.
    pub(crate) fn tail(path: &Path, lines: usize) -> io::Result<Self> {
        let mut files = chain(path)?;
        let mut wanted = lines;
        let mut first = files.len();
        for (index, (file, _)) in files.iter_mut().enumerate().rev() {
            wanted = seek_tail(file, wanted)?;
            first = index;
            if wanted == 0 {
                break;
            }
        }
        files.drain(..first);
        Ok(Self::of(path, files))
    }

    fn of(path: &Path, files: VecDeque<Opened>) -> Self {
        let mut lines = Self {
            path: path.to_owned(),
            file: None,
            next: files,
            line: Vec::new(),
            is_last_look: false,
        };
        lines.turn();
        lines
    }

    /// Goes to the next file, if there is one.
    fn turn(&mut self) -> bool {
        let Some((file, inode)) = self.next.pop_front() else { return false };
        self.file = Some((BufReader::new(file), inode));
        self.line.clear();
        self.is_last_look = false;
        true
    }

    /// The next line with its newline; none when nothing more is written yet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((file, _)) = &mut self.file {
                let length = file.read_until(b'\n', &mut self.line)?;
                if self.line.ends_with(b"\n") {
                    return Ok(Some(std::mem::take(&mut self.line)));
                } else if length > 0 {
                    continue;
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Goes on after the end of a file; false where there is nothing to go on with.
    fn advance(&mut self) -> io::Result<bool> {
        if self.turn() {
            return Ok(true);
        }
        let newest = inode(&self.path);
        let own = self.file.as_ref().map(|(_, inode)| *inode);
        // Missing for the moment in which a file takes the place of another.
        if newest.is_none() || newest == own {
            return Ok(false);
        }
        if own.is_some() && !self.is_last_look {
            self.is_last_look = true;
            return Ok(true);
        }
        let mut files = chain(&self.path)?;
        if let Some(known) = files.iter().position(|(_, inode)| Some(*inode) == own) {
            files.drain(..=known);
        }
        self.next = files;
        Ok(self.turn())
    }
}

/// Puts `file` at its last `lines` lines; how many of them it does not have.
fn seek_tail(file: &mut File, lines: usize) -> io::Result<usize> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    // The newline at the very end ends the last line; it begins none.
    let mut wanted = lines + 1;
    let mut block = Vec::with_capacity(BLOCK as usize);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.resize((end - start) as usize, 0);
        file.read_exact(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                wanted -= 1;
                if wanted == 0 {
                    file.seek(SeekFrom::Start(start + index as u64 + 1))?;
                    return Ok(0);
                }
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(wanted.saturating_sub(1))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        let next = || lines.next().unwrap().map(|line| String::from_utf8(line).unwrap());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_tail_is_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(1000);
        let lines: Vec<_> = (0..200).map(|n| format!("{n} {line}\n")).collect();
        fs::write(aside(&path, 2), lines[..20].concat()).unwrap();
        fs::write(aside(&path, 1), lines[20..60].concat()).unwrap();
        fs::write(&path, lines[60..].concat()).unwrap();
        for (count, first) in
            [(1, 199), (139, 61), (140, 60), (141, 59), (170, 30), (500, 0), (0, 200)]
        {
            let seen = all(&mut Lines::tail(&path, count).unwrap());
            assert_eq!(seen, lines[first..], "{count}");
        }
        assert_eq!(all(&mut Lines::from_start(&path).unwrap()), lines);
    }

    #[test]
    fn a_reader_stays_behind_and_catches_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = Lines::from_start(&path).unwrap();
        assert_eq!(all(&mut reader).len(), 0);
        fs::write(&path, "0\n").unwrap();
        assert_eq!(all(&mut reader), ["0\n"]);
        for number in 1..3 {
            put_aside(&path, 3).unwrap();
            fs::write(&path, format!("{number}\n")).unwrap();
        }
        assert_eq!(all(&mut reader), ["1\n", "2\n"]);
        for number in 3..9 {
            put_aside(&path, 3).unwrap();
            fs::write(&path, format!("{number}\n")).unwrap();
        }
        // What nobody keeps nobody can read.
        assert_eq!(all(&mut reader), ["6\n", "7\n", "8\n"]);
        assert!(!aside(&path, 3).exists());
        put_aside(&path, 1).unwrap();
        fs::write(&path, "9\n").unwrap();
        assert_eq!(all(&mut reader), ["9\n"]);
    }
}
