//! The directories of `RUN --mount=type=cache`: plain ones, which outlive builds.
//!
//! `cachemounts/<key>/` has the files, and `cachemounts/<key>.json`, beside it, says what it is; its
//! modification time is that of the last use. The key is a digest of what names the directory, so it
//! is the same on every machine.
//!
//! Whoever uses a directory has a lock on it, flock(2): a shared one, or an exclusive one if it must
//! be alone. A directory comes into being whole, by a rename, and goes by another one. So whoever got
//! its lock has to see whether it still has its name, and else begin anew.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bld_oci::Digest;
use rustix::fs::{AtFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::gc::Seized;
use crate::lock::KeyLock;
use crate::store::Inner;
use crate::temporary::Temporary;
use crate::{Scratch, Store, layout, list};

/// What names a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheName {
    /// What users call it.
    pub id: String,
    /// How it begins where that is out of the ordinary, and which copy it is: all that tells it from
    /// others of the same id. Usually empty.
    pub variant: String,
}

impl CacheName {
    /// The name of the directory: 64 hexadecimal digits.
    pub fn key(&self) -> String {
        let Self { id, variant } = self;
        let text = if variant.is_empty() { id.clone() } else { format!("{id}|{variant}") };
        Digest::of(text.as_bytes()).hex()
    }
}

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// What names it.
    pub name: CacheName,
    /// Where its files are.
    pub dir: PathBuf,
    /// When it was made.
    pub created: SystemTime,
    /// When a step used it last, or it was imported.
    pub used: SystemTime,
}

/// What is in the file beside the directory.
#[derive(Serialize, Deserialize)]
struct About {
    #[serde(flatten)]
    name: CacheName,
    created: SystemTime,
}

/// A cache mount in use; let go when dropped.
#[derive(Debug)]
#[must_use = "the directory is let go when this is dropped"]
pub struct CacheHold {
    dir: PathBuf,
    _lock: Lock,
}

impl CacheHold {
    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What came of asking for a cache mount.
#[derive(Debug)]
pub enum CacheAccess {
    /// It is ours to use.
    Held(CacheHold),
    /// Others use it in a way that does not go together with ours.
    Busy,
    /// There is none (any more).
    Missing,
}

impl Store {
    /// Asks for the cache mount of this name: to use it together with others, or alone.
    pub fn hold_cache_mount(&self, name: &CacheName, alone: bool) -> Result<CacheAccess> {
        let inner = self.inner();
        let path = layout::cache_mount(&name.key());
        let Some(fd) = inner.root.open_dir(&path)? else { return Ok(CacheAccess::Missing) };
        let error = |errno| inner.root.error("lock", &path, errno);
        let lock = if alone { Lock::try_exclusive(fd) } else { Lock::try_shared(fd) };
        let Some(lock) = lock.map_err(error)? else { return Ok(CacheAccess::Busy) };
        if !lock.still_named(&inner.root, &path).map_err(error)? {
            return Ok(CacheAccess::Missing);
        }
        Ok(CacheAccess::Held(CacheHold { dir: inner.root.join(&path), _lock: lock }))
    }

    /// Counts as a use of the cache mount of this name.
    pub fn touch_cache_mount(&self, name: &CacheName) -> Result<()> {
        let (root, about) = (&self.inner().root, layout::cache_mount_about(&name.key()));
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match rustix::fs::utimensat(root, &about, &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(()),
            // A power cut may have taken it.
            Err(Errno::NOENT) => self.describe_cache_mount(name),
            Err(errno) => Err(root.error("set the time of", about, errno)),
        }
    }

    /// Makes `filled`, a directory with all that is in it, the cache mount of this name. If there is
    /// one, it stays, unless `instead_of` holds it alone: then what was in it is removed.
    pub fn put_cache_mount(
        &self,
        name: &CacheName,
        filled: Scratch,
        instead_of: Option<CacheHold>,
    ) -> Result<()> {
        let (root, path) = (&self.inner().root, layout::cache_mount(&name.key()));
        let changing = self.change_cache_mount(&name.key())?;
        let exists = root.open_dir(&path)?.is_some();
        if exists && instead_of.is_none() {
            return Ok(());
        }
        // First what it is: that alone is nothing.
        self.describe_cache_mount(name)?;
        let how = if exists { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        rustix::fs::renameat_with(root, filled.name(), root, &path, how)
            .map_err(|errno| root.error("rename to", &path, errno))?;
        // What was there before goes when nobody has to wait for it.
        drop((changing, instead_of, filled));
        Ok(())
    }

    /// Removes the cache mount of this name, which `hold`, ours alone, is of.
    pub fn remove_cache_mount(&self, name: &CacheName, hold: CacheHold) -> Result<()> {
        self.take_cache_mount_away(&name.key(), hold)
    }

    /// Removes the cache mount of this key unless somebody uses it; whether it can be removed, with
    /// `dry_run`.
    pub(crate) fn give_cache_mount_up(&self, key: &str, dry_run: bool) -> Result<bool> {
        match self.inner().seize_cache_mount(key)? {
            Seized::Busy => Ok(false),
            Seized::Free(_) if dry_run => Ok(true),
            Seized::Free(None) => self.inner().root.unlink(&layout::cache_mount_about(key)),
            Seized::Free(lock) => self.take_cache_mount_away(key, lock).map(|()| true),
        }
    }

    /// Removes the cache mount of this key, which `hold` makes ours alone.
    fn take_cache_mount_away<T>(&self, key: &str, hold: T) -> Result<()> {
        let root = &self.inner().root;
        let trash = self.scratch()?;
        let changing = self.change_cache_mount(key)?;
        let (from, to) = (layout::cache_mount(key), format!("{}/dir", trash.name()));
        match rustix::fs::renameat(root, &from, root, &to) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(root.error("rename", &from, errno)),
        }
        root.unlink(&layout::cache_mount_about(key))?;
        drop((changing, hold, trash));
        Ok(())
    }

    /// All cache mounts, by id.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMount>> {
        let root = &self.inner().root;
        let mut found = Vec::new();
        for key in list::texts(root, layout::CACHE_MOUNTS)? {
            if key.contains('.') {
                continue;
            }
            let dir = root.join(layout::cache_mount(&key));
            let about = root.join(layout::cache_mount_about(&key));
            let read = || {
                let text = std::fs::read(&about)?;
                let About { name, created } = serde_json::from_slice(&text)?;
                let used = std::fs::metadata(&about)?.modified()?;
                std::io::Result::Ok(CacheMount { name, dir, created, used })
            };
            // Without it, it was just removed, or a power cut took it: the next use writes it again.
            found.extend(read());
        }
        found.sort_by(|a, b| (&a.name.id, &a.name.variant).cmp(&(&b.name.id, &b.name.variant)));
        Ok(found)
    }

    /// The lock of whoever changes what there is under this key. It is held for moments.
    fn change_cache_mount(&self, key: &str) -> Result<KeyLock> {
        self.lock(&format!("cache-mount-{key}"))
    }

    /// Writes what the cache mount of this name is.
    fn describe_cache_mount(&self, name: &CacheName) -> Result<()> {
        let about = About { name: name.clone(), created: SystemTime::now() };
        let text = serde_json::to_vec(&about).map_err(|error| StoreError::Malformed {
            what: format!("the cache mount {}", name.id),
            reason: error.to_string(),
        })?;
        let (temporary, mut file) = Temporary::create(self, "about")?;
        file.write_all(&text).map_err(|error| temporary.error("write", error))?;
        temporary.rename(&layout::cache_mount_about(&name.key()))
    }
}

impl Inner {
    /// The lock on a cache mount that nobody else has, if nobody uses it.
    pub(crate) fn seize_cache_mount(&self, key: &str) -> Result<Seized> {
        let path = layout::cache_mount(key);
        self.seize(&path, self.root.open_dir(&path)?)
    }
}
