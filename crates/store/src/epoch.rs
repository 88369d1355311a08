//! Surviving power cuts without a flush per file.
//!
//! An *epoch* is one boot of the machine. What is written in it is, until a syncfs(2), safe from
//! the death of any process but not from the death of the machine. So there are two degrees of
//! belief, one bit in the rows that name files:
//!
//! - `synced = 0`: written completely before the row was, since the machine was started. Everybody
//!   uses it: the page cache has it, whatever became of its maker.
//! - `synced = 1`: a syncfs has returned in between. It is on disk.
//!
//! The file `epoch` has the boot id for which this holds. It is made durable before the first write
//! of an epoch, so a power cut cannot go unnoticed: the first to open the store afterwards finds
//! another boot id, and before anything else is done withdraws belief from all that was not
//! synced. Snapshots are dropped, they can be built again. Blobs say themselves whether they are
//! whole: they are hashed, and kept or dropped. What no row names at all is treated likewise.
//!
//! Images are only ever made to name what is synced, in the same transaction that says so, and that
//! transaction is flushed. The writable layer of a container is as durable as any file that nobody
//! syncs: it is kept as it is found, as long as what it lies on is.

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::PoisonError;

use bld_oci::{Digest, Hasher};
use rusqlite::{Connection, Transaction};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::db::{self, bytes};
use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::gc::reserve;
use crate::root::Root;
use crate::store::Inner;
use crate::{SnapshotId, Store, blob, layout, list, remove};

/// The kernel's name for the current boot, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The next content of [`layout::EPOCH`], before it is renamed.
const NEXT: &str = "epoch.next";

impl Store {
    /// Makes everything that was committed so far, by whichever process, survive a power cut.
    ///
    /// One syncfs(2) and one transaction; nothing if nothing is pending. Putting an image includes
    /// it, so this is for builds that end without one.
    pub fn sync(&self) -> Result<()> {
        if self.inner().db.with(Unsynced::read)?.is_empty() {
            return Ok(());
        }
        self.inner().publish(|_| Ok(()))
    }
}

impl Inner {
    /// Makes everything committed so far durable, and with it, in one transaction, what `f` says.
    /// Files that `f` names must be complete before the call.
    pub(crate) fn publish<T>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let unsynced = self.db.with(Unsynced::read)?;
        // Since Linux 5.8 this reports errors of earlier writebacks, too: nothing is then believed.
        rustix::fs::syncfs(&self.root).map_err(|errno| self.root.error("sync", "", errno))?;
        let value = self.db.write_durably(|tx| {
            unsynced.mark(tx)?;
            f(tx)
        })?;
        // The log was just flushed, so this is cheap now, and saves the next process reading it.
        // It may fail: everything is said already.
        let _ = self.db.checkpoint();
        // A process may go on for days, and what others write is not for it to send to disk.
        self.write_out.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(value)
    }
}

/// The rows that a syncfs which begins now will cover.
struct Unsynced {
    snapshots: Vec<SnapshotId>,
    blobs: Vec<Digest>,
}

impl Unsynced {
    fn read(db: &Connection) -> Result<Self> {
        let mut snapshots = db.prepare_cached("SELECT id FROM snapshots WHERE synced = 0")?;
        let mut blobs = db.prepare_cached("SELECT digest FROM blobs WHERE synced = 0")?;
        Ok(Self {
            snapshots: snapshots.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?,
            blobs: blobs.query_map((), |row| db::digest(row, 0))?.collect::<Result<_, _>>()?,
        })
    }

    fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.blobs.is_empty()
    }

    fn mark(&self, tx: &Transaction<'_>) -> Result<()> {
        let mut snapshot = tx.prepare_cached("UPDATE snapshots SET synced = 1 WHERE id = ?1")?;
        for id in &self.snapshots {
            snapshot.execute((id,))?;
        }
        let mut blob = tx.prepare_cached("UPDATE blobs SET synced = 1 WHERE digest = ?1")?;
        for digest in &self.blobs {
            blob.execute((bytes(digest),))?;
        }
        Ok(())
    }
}

/// The kernel's id of this boot.
pub(crate) fn boot() -> Result<Vec<u8>> {
    std::fs::read(BOOT_ID).map_err(|e| StoreError::io("read", BOOT_ID, e))
}

/// Makes the store ready for this boot, unless it is.
pub(crate) fn enter(store: &Store) -> Result<()> {
    let Inner { root, boot, .. } = store.inner();
    if recorded(root)?.as_deref() == Some(boot) {
        return Ok(());
    }
    // One process does it, the others wait; a lock of its own descriptor, for threads.
    let lock = rustix::fs::openat(root, ".", crate::root::DIRECTORY, Mode::empty())
        .and_then(Lock::exclusive)
        .map_err(|errno| root.error("lock", "", errno))?;
    let last = recorded(root)?;
    if last.as_deref() != Some(boot) {
        // On a full disk, too: else there would be no way to collect garbage.
        reserve::use_if_needed(root, || {
            layout::DIRECTORIES.iter().try_for_each(|name| root.ensure_dir(name))?;
            root.scatter(layout::SNAPSHOTS)?;
            root.open_lock_file(layout::LOCKS)?;
            recover(store)?;
            record(root, boot).map_err(|errno| root.error("write", layout::EPOCH, errno))
        })?;
        reserve::set_aside(root);
        if last.is_none() {
            store.begin_empty();
        }
    }
    drop(lock);
    Ok(())
}

/// The boot for which the store is ready.
fn recorded(root: &Root) -> Result<Option<Vec<u8>>> {
    let Some(fd) = root.open_file(layout::EPOCH)? else { return Ok(None) };
    // A boot id has 37 bytes.
    let mut buffer = [0; 64];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buffer))
        .map_err(|errno| root.error("read", layout::EPOCH, errno))?;
    Ok(Some(buffer[..length].to_vec()))
}

/// Durably says for which boot the store is ready.
fn record(root: &Root, boot: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(root, NEXT, flags, Mode::RUSR | Mode::WUSR)?;
    // Shorter than any file system would write in two pieces.
    if rustix::io::write(&fd, boot)? != boot.len() {
        return Err(Errno::IO);
    }
    rustix::fs::fsync(&fd)?;
    rustix::fs::renameat(root, NEXT, root, layout::EPOCH)?;
    rustix::fs::fsync(root)
}

/// Withdraws belief from what a power cut may have torn.
fn recover(store: &Store) -> Result<()> {
    let inner = store.inner();
    inner.db.write(|tx| {
        // Records and chains go with their snapshot. What lies on it is not synced either, other
        // than layers of containers.
        tx.execute(
            "WITH RECURSIVE torn (id) AS (
                 SELECT id FROM snapshots WHERE synced = 0
                 UNION SELECT above.id FROM snapshots AS above JOIN torn ON above.parent = torn.id
             )
             DELETE FROM snapshots WHERE id IN torn",
            (),
        )?;
        Ok(())
    })?;
    forget_lost_layers(inner)?;
    inner.forget_merged()?;
    recover_blobs(inner)?;
    // Leftovers take space and nothing else.
    let _ = remove_nameless_snapshots(inner);
    Ok(())
}

/// Forgets layers of containers whose directories did not reach the disk, though their rows did.
fn forget_lost_layers(inner: &Inner) -> Result<()> {
    for id in inner.column::<SnapshotId>("SELECT id FROM snapshots WHERE container IS NOT NULL")? {
        if inner.root.open_dir(&layout::snapshot(id))?.is_none() {
            inner.db.with(|db| Ok(db.execute("DELETE FROM snapshots WHERE id = ?1", (id,))?))?;
        }
    }
    Ok(())
}

/// Hashes every blob that is not known to be on disk, and drops those that are not whole.
fn recover_blobs(inner: &Inner) -> Result<()> {
    let synced: HashSet<[u8; 32]> = inner.column("SELECT digest FROM blobs WHERE synced = 1")?;
    let mut whole = HashSet::new();
    for digest in list::blobs(&inner.root)? {
        if synced.contains(digest.as_bytes()) {
            continue;
        }
        if hash_blob(&inner.root, &digest)? == Some(digest) {
            whole.insert(digest);
        } else {
            inner.root.unlink(&layout::blob(&digest))?;
        }
    }
    let unsynced = inner.db.with(Unsynced::read)?;
    inner.db.write(|tx| {
        let torn = unsynced.blobs.iter().filter(|digest| !whole.contains(digest));
        torn.into_iter().try_for_each(|digest| blob::forget(tx, digest))?;
        unsynced.mark(tx)
    })
}

/// Removes the directories of snapshots that the database does not know.
fn remove_nameless_snapshots(inner: &Inner) -> Result<()> {
    for id in inner.nameless_snapshots()? {
        let name = layout::snapshot(id);
        remove::tree(&inner.root, &name)
            .map_err(|errno| inner.root.error("remove", &name, errno))?;
    }
    Ok(())
}

/// The digest of a blob's bytes; `None` if there is no such blob.
pub(crate) fn hash_blob(root: &Root, digest: &Digest) -> Result<Option<Digest>> {
    let name = layout::blob(digest);
    let Some(fd) = root.open_file(&name)? else { return Ok(None) };
    let mut file = std::fs::File::from(fd);
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(|e| StoreError::io("read", root.join(&name), e))? {
            0 => return Ok(Some(hasher.finish())),
            length => hasher.update(&buffer[..length]),
        }
    }
}
