//! Cache mounts: what `RUN --mount=type=cache` keeps from build to build, as archives and away again.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

pub use bld_layer::Compression;
use bld_layer::{ApplyOptions, Encoder, LayerError, Whiteouts, owner};
use bld_store::{CacheAccess, CacheHold, CacheMount, CacheName, Store};
use serde::{Deserialize, Serialize};

use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result, tree};

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// What the Dockerfile calls it: the `id`, or the target.
    pub id: String,
    /// Tells it from others of the same id: 64 hexadecimal digits, the same on every machine.
    pub key: String,
    /// How it began where that is out of the ordinary (`mode:uid:gid`, what it was filled from, which
    /// copy it is); usually empty.
    pub variant: String,
    /// Where its files are.
    pub dir: PathBuf,
    /// When it was made.
    pub created: SystemTime,
    /// When a step used it last, or it was imported.
    pub used: SystemTime,
}

/// What to do while steps of builds use a cache mount.
pub enum WhenBusy<'a> {
    /// Fail.
    Fail,
    /// Wait for their end; this is called first.
    Wait(&'a dyn Fn()),
}

impl From<CacheMount> for Cache {
    fn from(mount: CacheMount) -> Self {
        let key = mount.name.key();
        let CacheMount { name: CacheName { id, variant }, dir, created, used } = mount;
        Self { id, key, variant, dir, created, used }
    }
}

impl Cache {
    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        tree::size(&self.dir)
    }

    fn name(&self) -> CacheName {
        CacheName { id: self.id.clone(), variant: self.variant.clone() }
    }
}

impl Engine {
    /// All cache mounts, by id.
    pub fn caches(&self) -> Result<Vec<Cache>> {
        Ok(self.store()?.cache_mounts()?.into_iter().map(Cache::from).collect())
    }

    /// The cache mount that `word` names: its id, or the start of its key.
    ///
    /// # Errors
    /// [`EngineError::NoSuchCache`], [`EngineError::AmbiguousCache`].
    pub fn find_cache(&self, word: &str) -> Result<Cache> {
        let all = self.caches()?;
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_key = word.len() >= SHORTEST_KEY && word.bytes().all(is_digit);
        let of_id: Vec<_> = all.iter().filter(|cache| cache.id == word).collect();
        let found = match of_id.iter().find(|cache| cache.variant.is_empty()) {
            Some(usual) => vec![*usual],
            None if !of_id.is_empty() => of_id,
            None => all.iter().filter(|cache| is_key && cache.key.starts_with(word)).collect(),
        };
        match found.as_slice() {
            [] => Err(EngineError::NoSuchCache { name: word.to_owned() }),
            [one] => Ok((*one).clone()),
            several => Err(EngineError::AmbiguousCache {
                name: word.to_owned(),
                keys: several.iter().map(|cache| cache.key[..SHORTEST_KEY].to_owned()).collect(),
            }),
        }
    }

    /// Whether a step uses it right now.
    pub fn is_cache_in_use(&self, cache: &Cache) -> Result<bool> {
        let access = self.store()?.hold_cache_mount(&cache.name(), true)?;
        Ok(matches!(access, CacheAccess::Busy))
    }

    /// Writes a tar of all files of a cache mount, which nobody changes meanwhile. It says what it is
    /// of, so that [`import_cache`](Self::import_cache) makes the same of it on any machine.
    pub fn export_cache(
        &self,
        cache: &Cache,
        out: impl Write,
        compression: &Compression,
        busy: &WhenBusy<'_>,
    ) -> Result<()> {
        let Some(hold) = self.hold_cache(&cache.name(), busy)? else {
            return Err(EngineError::NoSuchCache { name: cache.id.clone() });
        };
        let meta = fs::metadata(hold.dir()).at("read", hold.dir())?;
        let label = Label {
            bld_cache: cache.name(),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        };
        let label =
            serde_json::to_string(&label).map_err(io::Error::from).at("read", hold.dir())?;
        let failed = |action| move |source| LayerError::Stream { action, source };
        let write = || -> Result<(), LayerError> {
            let mut out = Encoder::new(out, compression).map_err(failed("compress the cache"))?;
            bld_layer::write_directory(hold.dir(), &label, &mut out)?;
            out.finish().and_then(|mut out| out.flush()).map_err(failed("write the cache"))
        };
        write().map_err(|source| EngineError::Cache {
            id: cache.id.clone(),
            action: "export",
            source,
        })
    }

    /// Makes the files of `archive`, a tar that may be compressed, the cache mount `id`: all of them,
    /// and none that were there before; or, when something fails, nothing changes.
    pub fn import_cache(
        &self,
        id: &str,
        archive: impl Read + Send + 'static,
        busy: &WhenBusy<'_>,
    ) -> Result<Cache> {
        let store = self.store()?;
        let scratch = store.scratch()?;
        let path = scratch.path();
        let label = unpack(archive, &path).map_err(|source| EngineError::Cache {
            id: id.to_owned(),
            action: "import",
            source,
        })?;
        let known = match (self.find_cache(id), &label) {
            (Ok(known), _) => Some(known.name()),
            // An archive that says which of several it is needs no more than the id.
            (Err(EngineError::NoSuchCache { .. }), _)
            | (Err(EngineError::AmbiguousCache { .. }), Some(_)) => None,
            (Err(error), _) => return Err(error),
        };
        let mut name =
            known.unwrap_or_else(|| CacheName { id: id.to_owned(), variant: String::new() });
        if let Some(label) = &label {
            name.variant.clone_from(&label.bld_cache.variant);
        }
        let hold = self.hold_cache(&name, busy)?;
        let (mode, uid, gid) = match (label, &hold) {
            (Some(label), _) => (label.mode & 0o7777, label.uid, label.gid),
            (None, Some(hold)) => {
                let meta = fs::metadata(hold.dir()).at("read", hold.dir())?;
                (meta.mode() & 0o7777, meta.uid(), meta.gid())
            }
            (None, None) => (0o755, 0, 0),
        };
        own(&path, (mode, uid, gid))?;
        scratch.sync()?;
        store.put_cache_mount(&name, scratch, hold)?;
        let all = self.caches()?;
        let key = name.key();
        all.into_iter()
            .find(|cache| cache.key == key)
            .ok_or_else(|| EngineError::NoSuchCache { name: id.to_owned() })
    }

    /// Removes a cache mount and all its files.
    pub fn remove_cache(&self, cache: &Cache, busy: &WhenBusy<'_>) -> Result<()> {
        let name = cache.name();
        match self.hold_cache(&name, busy)? {
            Some(hold) => Ok(self.store()?.remove_cache_mount(&name, hold)?),
            None => Err(EngineError::NoSuchCache { name: cache.id.clone() }),
        }
    }

    /// The cache mount of this name, for us alone; none: there is none.
    fn hold_cache(&self, name: &CacheName, busy: &WhenBusy<'_>) -> Result<Option<CacheHold>> {
        let store = self.store()?;
        let mut is_told = false;
        loop {
            match (store.hold_cache_mount(name, true)?, busy) {
                (CacheAccess::Held(hold), _) => return Ok(Some(hold)),
                (CacheAccess::Missing, _) => return Ok(None),
                (CacheAccess::Busy, WhenBusy::Fail) => {
                    return Err(EngineError::CacheInUse { id: name.id.clone() });
                }
                (CacheAccess::Busy, WhenBusy::Wait(tell)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tell();
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Makes `archive`, of [`Engine::export_cache`], the cache mount of this name, unless there is one.
pub(crate) fn put_archive(
    store: &Store,
    name: &CacheName,
    archive: impl Read + Send + 'static,
) -> Result<()> {
    let scratch = store.scratch()?;
    let path = scratch.path();
    let label = unpack(archive, &path).map_err(|source| EngineError::Cache {
        id: name.id.clone(),
        action: "import",
        source,
    })?;
    let attributes =
        label.map_or((0o755, 0, 0), |label| (label.mode & 0o7777, label.uid, label.gid));
    own(&path, attributes)?;
    scratch.sync()?;
    Ok(store.put_cache_mount(name, scratch, None)?)
}

fn own(path: &Path, (mode, uid, gid): (u32, u32, u32)) -> Result<()> {
    let (uid, gid) = owner(uid, gid);
    chown(path, Some(uid), Some(gid)).at("set the owner of", path)?;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).at("set the mode of", path)
}

/// Digits of a key that stand for it, at least.
const SHORTEST_KEY: usize = 12;

/// Time between two looks at a cache mount in use.
const PAUSE: Duration = Duration::from_millis(50);

/// What an archive says of the cache mount it was made of.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    bld_cache: CacheName,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Unpacks `archive`, which must be there to its end, into the empty directory `dir`.
fn unpack(archive: impl Read + Send + 'static, dir: &Path) -> Result<Option<Label>, LayerError> {
    let failed = |source| LayerError::Stream { action: "read the archive", source };
    let decoded = bld_layer::decoder(archive).map_err(failed)?;
    let (comment, tar) = bld_layer::comment(decoded).map_err(failed)?;
    let mut tar = Ended { tar, zeros: 0 };
    let options = ApplyOptions { whiteouts: Whiteouts::Literal, ..ApplyOptions::default() };
    bld_layer::apply(&mut tar, dir, &options)?;
    if tar.zeros < END_OF_TAR {
        let source = io::Error::new(ErrorKind::UnexpectedEof, "the archive is cut off");
        return Err(failed(source));
    }
    Ok(comment.and_then(|comment| serde_json::from_str(&comment).ok()))
}

/// Zeros at the end of every tar, bytes.
const END_OF_TAR: u64 = 1024;

/// Counts the zeros at the end of an archive, by which a whole one is told from one that is cut off
/// between two files.
struct Ended<R> {
    tar: R,
    zeros: u64,
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.tar.read(buffer)?;
        let zeros = buffer[..length].iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == length { self.zeros + zeros as u64 } else { zeros as u64 };
        Ok(length)
    }
}
