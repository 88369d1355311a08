//! Descriptors that count for one thread, and those it starts, alone.
//!
//! A process is often allowed 1024, and each port needs one or two. The bound is one of the table of
//! descriptors, though, and threads can have tables of their own.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::Weak,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout},
};

/// Gives the calling thread a table of its own, in which nothing is open but `kept`, under another number.
/// It may use no descriptor of anybody else afterwards.
pub(super) fn own(kept: &Weak<OwnedFd>) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_FILES)?;
    // Whoever waits for us has the other one, so that dropping this one closes nothing.
    let other = kept.upgrade().ok_or(io::ErrorKind::NotFound)?;
    let kept = other.try_clone()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in open_descriptors()? {
        if fd > 2 && fd != kept.as_raw_fd() && fd != null.as_raw_fd() {
            // The one by which they were listed is gone already.
            let _gone = close(fd);
        }
    }
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(kept)
}

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/thread-self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(numbers)
}
