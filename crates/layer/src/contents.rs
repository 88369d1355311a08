//! Copying the contents of regular files, the cheapest way the filesystems allow.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;

use crate::Metadata;

/// Below this size a clone or an in-kernel copy costs more than it saves: creating the file
/// dominates.
const SMALL: u64 = 64 * 1024;
/// The most bytes one `copy_file_range` takes.
const RANGE: usize = 1 << 30;

/// Whether cloning never worked so far. Most filesystems cannot, and asking once per file is a
/// wasted call per file; one process rarely sees more than one filesystem.
static NO_CLONE: AtomicBool = AtomicBool::new(false);

/// Copies `source` into the empty file `target`: shares the extents where the filesystem can
/// (`FICLONE`), else copies inside the kernel, else through a buffer. Holes stay holes. Returns
/// the number of bytes.
///
/// `meta` is that of `source`; only a hint, as a file may change at any time: what is copied ends
/// where the source ends now.
pub(crate) fn copy(source: &File, target: &File, meta: &Metadata) -> io::Result<u64> {
    if meta.size <= SMALL {
        return copy_small(source, target, meta.size);
    }
    if !NO_CLONE.load(Ordering::Relaxed) {
        match fs::ioctl_ficlone(target, source) {
            Ok(()) => return Ok(target.metadata()?.len()),
            Err(Errno::XDEV | Errno::INVAL) => {}
            Err(_) => NO_CLONE.store(true, Ordering::Relaxed),
        }
    }
    if meta.has_holes() {
        return copy_sparse(source, target);
    }
    copy_range(source, target, 0, u64::MAX)
}

fn copy_small(source: &File, mut target: &File, size: u64) -> io::Result<u64> {
    let mut copied = 0;
    read(source, size, |bytes| {
        copied += bytes.len() as u64;
        target.write_all(bytes)
    })?;
    Ok(copied)
}

/// As [`copy`], showing every byte that is written to `each`.
pub(crate) fn copy_shown(
    source: &File,
    mut target: &File,
    size: u64,
    mut each: impl FnMut(&[u8]),
) -> io::Result<u64> {
    let mut copied = 0;
    read(source, size, |bytes| {
        copied += bytes.len() as u64;
        each(bytes);
        target.write_all(bytes)
    })?;
    Ok(copied)
}

thread_local! {
    /// What every file is read into: memory that is used again needs not to be cleared.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes read at a time: more no longer makes it faster.
const BUFFERED: usize = 128 * 1024;

/// Reads a file from where it stands to its end, calling `each` with one piece after the other.
/// `size` is what it should have.
pub(crate) fn read(
    mut file: &File,
    size: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFERED, 0);
        let mut left = size;
        loop {
            let read = match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            each(&buffer[..read])?;
            left = left.saturating_sub(read as u64);
            // Of a regular file, a read that gets less than it asks for has seen the end.
            if read == 0 || (read < BUFFERED && left == 0) {
                return Ok(());
            }
        }
    })
}

/// Copies only what holds data.
fn copy_sparse(source: &File, target: &File) -> io::Result<u64> {
    let size = source.metadata()?.len();
    let mut at = 0;
    while at < size {
        let start = match fs::seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = fs::seek(source, SeekFrom::Hole(start))?;
        if copy_range(source, target, start, end - start)? < end - start {
            // The source was cut off meanwhile.
            break;
        }
        at = end;
    }
    target.set_len(size)?;
    Ok(size)
}

/// Copies up to `length` bytes from `start` to the same place. Returns how many there were.
fn copy_range(source: &File, target: &File, start: u64, length: u64) -> io::Result<u64> {
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(RANGE).min(RANGE);
        let (mut from, mut to) = (start + done, start + done);
        match fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), wanted) {
            // Some virtual filesystems claim an end where there is none: read to be sure.
            Ok(0) if done > 0 => return Ok(done),
            Ok(copied @ 1..) => done += copied as u64,
            Ok(0)
            | Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                return Ok(done + copy_buffered(source, target, start + done, length - done)?);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

fn copy_buffered(source: &File, target: &File, start: u64, length: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done).unwrap_or(buffer.len()).min(buffer.len());
        let read = match source.read_at(&mut buffer[..wanted], start + done) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        target.write_all_at(&buffer[..read], start + done)?;
        done += read as u64;
    }
    Ok(done)
}

/// Whether two files hold the same bytes.
pub(crate) fn are_equal(a: &File, b: &File) -> io::Result<bool> {
    let mut buffers = [vec![0; COMPARED], vec![0; COMPARED]];
    let mut at = 0;
    loop {
        let mut lengths = [0; 2];
        for ((file, buffer), length) in [a, b].into_iter().zip(&mut buffers).zip(&mut lengths) {
            *length = read_full(file, buffer, at)?;
        }
        let [length, other] = lengths;
        if length != other || buffers[0][..length] != buffers[1][..length] {
            return Ok(false);
        }
        if length < COMPARED {
            return Ok(true);
        }
        at += length as u64;
    }
}

/// Bytes compared at a time: both pieces stay in the cache.
const COMPARED: usize = 64 * 1024;

/// Reads until the buffer is full or the file ends.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
