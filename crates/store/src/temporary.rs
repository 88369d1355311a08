//! Files that get their name when they are complete, and directories that never get one.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Store;
use crate::error::{Result, StoreError};
use crate::remove;

/// A file of this session. Its temporary name is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    store: Store,
    /// Relative to the root.
    name: String,
}

impl Temporary {
    /// Makes the file, open for writing; read-only for everyone who opens it later.
    pub(crate) fn create(store: &Store, kind: &str) -> Result<(Self, File)> {
        let inner = store.inner();
        let session = inner.session()?;
        let name = session.path(&session.temporary(kind));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::RGRP | Mode::ROTH;
        let fd = rustix::fs::openat(&inner.root, &name, flags, mode)
            .map_err(|errno| inner.root.error("create", &name, errno))?;
        Ok((Self { store: store.clone(), name }, fd.into()))
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Gives it the name `to` (relative to the root) unless something has that; whether it was
    /// free.
    pub(crate) fn link(&self, to: &str) -> Result<bool> {
        let root = &self.store.inner().root;
        match rustix::fs::linkat(root, &self.name, root, to, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.error("link", errno)),
        }
    }

    /// Gives it the name `to` (relative to the root), whatever had that.
    pub(crate) fn rename(&self, to: &str) -> Result<()> {
        let root = &self.store.inner().root;
        rustix::fs::renameat(root, &self.name, root, to)
            .map_err(|errno| self.error("rename", errno))
    }

    /// An error that concerns the file.
    pub(crate) fn error(&self, action: &'static str, error: impl Into<io::Error>) -> StoreError {
        StoreError::io(action, self.store.inner().root.join(&self.name), error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays is swept when this process is gone.
        let _ = self.store.inner().root.unlink(&self.name);
    }
}

/// A directory for whatever is needed only now, entered by its owner only. Removed when dropped, or
/// swept when the process has died.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    /// Relative to the root.
    name: String,
}

impl Store {
    /// Makes an empty directory of this process.
    pub fn scratch(&self) -> Result<Scratch> {
        let inner = self.inner();
        let session = inner.session()?;
        let name = session.path(&session.temporary("scratch"));
        rustix::fs::mkdirat(&inner.root, &name, Mode::RWXU)
            .map_err(|errno| inner.root.error("create", &name, errno))?;
        Ok(Scratch { store: self.clone(), name })
    }
}

impl Scratch {
    /// Relative to the root.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes all that is in it durable.
    pub fn sync(&self) -> Result<()> {
        let root = &self.store.inner().root;
        // A flush for each file would take longer.
        rustix::fs::syncfs(root).map_err(|errno| root.error("sync", &self.name, errno))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.store.inner().root.join(&self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept when this process is gone.
        let _ = remove::tree(&self.store.inner().root, &self.name);
    }
}
