//! Copying the contents of regular files, the cheapest way the filesystems allow.

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

fn copy_small(mut source: &File, mut target: &File, size: u64) -> io::Result<u64> {
    let mut contents = Vec::with_capacity(size as usize + 1);
    source.read_to_end(&mut contents)?;
    target.write_all(&contents)?;
    Ok(contents.len() as u64)
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
