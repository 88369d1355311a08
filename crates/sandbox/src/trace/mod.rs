//! What a process reads of its root filesystem.
//!
//! The layers are put behind a filesystem in user space, which is asked once for every name that
//! is looked up, whether it exists or not, once for the attributes of each file, once for each
//! directory that is listed, and for the contents of the files that are read. It does not matter
//! how a program gets there (by which system call, through `io_uring`, by execve(2), by writing to
//! a file, which reads all of it): whatever is not asked for is not in the kernel, and can't be
//! seen. What the kernel was told once it keeps, so the cost grows with the files that were read,
//! not with the calls that were made.
//!
//! What the process wrote itself lies above and is no business of the layers; but the kernel looks
//! for each new file below as well. So where a file was made, it is known that there was none.

mod server;
mod wire;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mount::MountAttrFlags;

use crate::error::SandboxError;
use crate::mounts::NewFs;

/// What was seen of one path. That it was looked for, and so whether it exists, of which type and
/// size it is, whose, and its mode, goes without saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The rest of its attributes: times, links.
    pub attributes: bool,
    /// Contents of a file, the target of a link, the names in a directory.
    pub contents: bool,
    /// Extended attributes.
    pub xattrs: bool,
}

/// What was seen, by paths from the root directory, which itself is the empty one.
pub type Reads = BTreeMap<PathBuf, Seen>;

/// Layers that notice how they are read.
#[derive(Debug)]
pub struct Traced {
    layers: Vec<PathBuf>,
    log: Arc<Mutex<Log>>,
    /// Keeps the filesystem mounted, though nowhere.
    _root: OwnedFd,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Log {
    reads: Reads,
    /// Why there may be reads that are not among them.
    failure: Option<io::Error>,
}

impl Log {
    fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }
}

impl Traced {
    /// Puts a filesystem in front of `layers`, which must not change any more.
    ///
    /// # Errors
    /// When there is no FUSE here.
    pub fn new(layers: &[PathBuf]) -> Result<Self, SandboxError> {
        let setup = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| SandboxError::setup(what, e)
        };
        let device = Path::new("/dev/fuse");
        let device = OpenOptions::new().read(true).write(true).open(device);
        let device = device.map_err(setup("open /dev/fuse to trace reads"))?;
        let mount = || {
            let fs = NewFs::open(c"fuse")?;
            fs.set(c"source", "bld")?;
            fs.set(c"fd", device.as_raw_fd())?;
            fs.set(c"rootmode", "40000")?;
            fs.set(c"user_id", 0)?;
            fs.set(c"group_id", 0)?;
            fs.flag(c"allow_other")?;
            fs.mount(MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV)
        };
        let root = mount()
            .map_err(|e| SandboxError::setup("mount a filesystem that traces reads", e.source))?;
        let log = Arc::<Mutex<Log>>::default();
        let mut server = server::Server::new(device, layers.to_vec(), Arc::clone(&log));
        std::thread::Builder::new()
            .name("bld-trace".to_owned())
            .spawn(move || server.serve())
            .map_err(setup("start a thread to trace reads"))?;
        let link = |n| PathBuf::from(format!("/proc/self/fd/{}/{n}", root.as_raw_fd()));
        Ok(Self { layers: (0..layers.len()).map(link).collect(), log, _root: root })
    }

    /// The layers to give to an overlay, in the order of those that they stand for.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// What was read, once all who could read have ended.
    ///
    /// # Errors
    /// When it is not certain that this is all.
    pub fn finish(self) -> io::Result<Reads> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(std::mem::take(&mut log.reads)),
        }
    }
}
