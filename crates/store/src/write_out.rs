//! Writing to disk before it has to be done.
//!
//! The kernel keeps what is written in memory until it is half a minute old or a tenth of the memory
//! is full of it (Documentation/admin-guide/sysctl/vm.rst, `dirty_*`). So the syncfs(2) that makes a
//! result last would find all of it still to be written, after a disk that had nothing to do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::fs::Mode;

use crate::Store;
use crate::root::{DIRECTORY, Root};

/// How often it looks whether there is enough.
const INTERVAL: Duration = Duration::from_millis(100);

/// Bytes from which on writing is worth it.
const ENOUGH: u64 = 32 << 20;

/// The thread that writes out; ends some time after this is dropped.
#[derive(Debug)]
pub(crate) struct WriteOut {
    _stop: Sender<()>,
}

impl Store {
    /// From now on, until the next [`sync`](Self::sync) or image, what is written is sent to disk soon,
    /// so that the sync finds little to do. Says nothing about what is on disk.
    pub fn write_out_early(&self) {
        let mut write_out = self.inner().write_out.lock().unwrap_or_else(PoisonError::into_inner);
        if write_out.is_none() {
            // Without it, the sync does it all.
            *write_out = WriteOut::start(&self.inner().root).ok();
        }
    }
}

impl WriteOut {
    fn start(root: &Root) -> io::Result<Self> {
        // A description of its own: an error of writing is told once to each, and has to reach the
        // one that decides what is believed.
        let root = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("write-out".to_owned());
        thread.spawn(move || run(&root, &stopped))?;
        Ok(Self { _stop: stop })
    }
}

fn run(root: &OwnedFd, stopped: &Receiver<()>) {
    let mut pause = INTERVAL;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        if dirty().is_none_or(|dirty| dirty < ENOUGH) {
            pause = INTERVAL;
            continue;
        }
        let begun = Instant::now();
        // Whoever needs to know whether it worked syncs again.
        let _ = rustix::fs::syncfs(root);
        // Half of the time at most: others may write much, to the same disk.
        pause = begun.elapsed().max(INTERVAL);
    }
}

/// Bytes in the machine's memory that are to be written, proc_meminfo(5).
fn dirty() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Dirty:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
