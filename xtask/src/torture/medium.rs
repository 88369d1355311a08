//! A disk that forgets what was not flushed when its power is cut.
//!
//! A FUSE file system with one file in it, which a loop device takes for a disk. What is written goes
//! to the disk's cache; a flush, which reaches the file as an fsync, makes it last. A cut keeps some
//! blocks of what the cache holds, as a disk does that writes in an order of its own.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyWrite, Request, WriteFlags,
};

use super::random::Random;

/// The name of the file.
pub(super) const NAME: &str = "disk";

/// What a disk writes whole or not at all, bytes.
const BLOCK: usize = 4096;

const FILE: INodeNo = INodeNo(2);

/// The disk, while it is plugged in.
pub(super) struct Medium {
    state: Arc<Mutex<State>>,
    /// Ends the file system when it is dropped.
    _session: BackgroundSession,
}

struct State {
    size: u64,
    /// What is read.
    seen: File,
    /// What would be left.
    lasting: File,
    /// What was written since the last flush, in order.
    cache: Vec<(u64, Vec<u8>)>,
    powered: bool,
}

impl Medium {
    /// An empty disk of `size` bytes whose file is in `directory`.
    pub(super) fn plug_in(directory: &Path, size: u64) -> Result<Self> {
        let file = || -> io::Result<File> {
            let file = tempfile::tempfile()?;
            file.set_len(size)?;
            Ok(file)
        };
        let (seen, lasting) = (file()?, file()?);
        let state = State { size, seen, lasting, cache: Vec::new(), powered: true };
        let state = Arc::new(Mutex::new(state));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("bld-torture".to_owned())];
        let session = fuser::spawn_mount(Front(Arc::clone(&state)), directory, &config)
            .context("mount a FUSE file system")?;
        Ok(Self { state, _session: session })
    }

    /// From now on it forgets what it is told to write, and holds what lasted.
    pub(super) fn cut(&self, random: &mut Random) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.powered = false;
        let cache = std::mem::take(&mut state.cache);
        // From losing nearly everything to losing nearly nothing.
        let luck = random.below(101);
        for (offset, data) in &cache {
            for (index, block) in data.chunks(BLOCK).enumerate() {
                if random.below(100) < luck {
                    state.lasting.write_all_at(block, offset + (index * BLOCK) as u64)?;
                }
            }
        }
        for (offset, mut data) in cache {
            state.lasting.read_exact_at(&mut data, offset)?;
            state.seen.write_all_at(&data, offset)?;
        }
        Ok(())
    }

    /// Gives it power again.
    pub(super) fn restore(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).powered = true;
    }
}

impl State {
    fn read(&self, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let size = u64::from(size).min(self.size.saturating_sub(offset));
        let mut data = vec![0; size as usize];
        self.seen.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.powered {
            self.seen.write_all_at(data, offset)?;
            self.cache.push((offset, data.to_owned()));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        for (offset, data) in self.cache.drain(..) {
            self.lasting.write_all_at(&data, offset)?;
        }
        Ok(())
    }
}

/// What the kernel talks to.
struct Front(Arc<Mutex<State>>);

impl Front {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> Result<T, Errno> {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)).map_err(Errno::from)
    }

    fn attributes(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let size = self.with(|state| Ok(state.size))?;
        let (kind, perm, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            FILE => (FileType::RegularFile, 0o600, size),
            _ => return Err(Errno::ENOENT),
        };
        Ok(FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        })
    }
}

/// How long the kernel may believe an answer.
const VALID: Duration = Duration::from_hours(1);

impl Filesystem for Front {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE) {
            Ok(attributes) if name == NAME => reply.entry(&VALID, &attributes, Generation(0)),
            Ok(_) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Ok(attributes) => reply.attr(&VALID, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|state| state.read(offset, size)) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(|state| state.write(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.with(State::flush) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
