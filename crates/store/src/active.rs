//! Snapshots in the making, and the layers that containers write to.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::OptionalExtension as _;
use rustix::fs::{AtFlags, Gid, Mode, Uid};

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::root::DIRECTORY;
use crate::store::Inner;
use crate::{SnapshotId, Store, db, layout};

impl Store {
    /// Starts a snapshot on top of `parent`, which must be committed; on nothing if `None`.
    ///
    /// The new root directory gets mode and owner of the parent's: in the merged view it is the
    /// one that is seen.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`] when the parent is gone or is a container's layer.
    pub fn prepare(&self, parent: Option<SnapshotId>) -> Result<Active> {
        let inner = self.inner();
        let (held, lower) = match parent {
            Some(id) => {
                let missing = || StoreError::MissingSnapshot { id };
                let committed = inner.is_committed(id)?;
                let held = if committed { inner.hold_snapshot(id)? } else { None };
                (Some(held.ok_or_else(missing)?), self.layers(id)?)
            }
            None => (None, Vec::new()),
        };
        let error = |errno| inner.root.error("create", layout::SNAPSHOTS, errno);
        let id = SnapshotId::random().map_err(error)?;
        inner.session()?.mark(&inner.root, id)?;
        let lock = create(inner, id, parent).map_err(error).inspect_err(|_| inner.abandon(id))?;
        let unfinished = Unfinished { store: self.clone(), id, lock: Some(lock) };
        let layer = Layer::new(self, id, lower)?;
        Ok(Active { unfinished, layer, parent, _held: held })
    }

    /// Opens the writable layer that a container was given by [`Active::keep`], for this process
    /// alone.
    ///
    /// # Errors
    /// [`StoreError::MissingContainer`] when the container has none,
    /// [`StoreError::SnapshotInUse`] when another process has it open.
    pub fn container_layer(&self, container: &str) -> Result<ContainerLayer> {
        let inner = self.inner();
        let missing = || StoreError::MissingContainer { name: container.to_owned() };
        let id = inner.layer_of(container)?.ok_or_else(missing)?;
        let fd = inner.root.open_dir(&layout::snapshot(id))?.ok_or_else(missing)?;
        let error = |errno| inner.root.error("open", layout::snapshot(id), errno);
        let lock =
            Lock::try_exclusive(fd).map_err(error)?.ok_or(StoreError::SnapshotInUse { id })?;
        let mut lower = self.layers(id)?;
        lower.pop();
        Ok(ContainerLayer { layer: Layer::new(self, id, lower)?, _lock: Some(lock) })
    }
}

/// The directories of an overlay mount.
#[derive(Debug)]
struct Layer {
    store: Store,
    id: SnapshotId,
    upper: PathBuf,
    /// The work directory's name in the session, and its path.
    work: (String, PathBuf),
    lower: Vec<PathBuf>,
}

impl Layer {
    fn new(store: &Store, id: SnapshotId, lower: Vec<PathBuf>) -> Result<Self> {
        let inner = store.inner();
        let session = inner.session()?;
        let name = session.take_work(&inner.root)?;
        let path = inner.root.join(session.path(&name));
        Ok(Self { store: store.clone(), id, upper: inner.upper(id), work: (name, path), lower })
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if let Ok(session) = self.store.inner().session() {
            session.return_work(std::mem::take(&mut self.work.0));
        }
    }
}

/// A snapshot on disk that has no row yet, removed when this is dropped.
#[derive(Debug)]
struct Unfinished {
    store: Store,
    id: SnapshotId,
    /// Exclusive, on the snapshot's directory; `None` once it is in other hands.
    lock: Option<Lock>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.lock.is_some() {
            self.store.inner().abandon(self.id);
        }
    }
}

/// A snapshot in the making. Its parents stay while it lives. Dropped before
/// [`commit`](Self::commit), it leaves nothing; should the process die, neither.
#[derive(Debug)]
#[must_use = "dropping it discards the snapshot"]
pub struct Active {
    unfinished: Unfinished,
    layer: Layer,
    parent: Option<SnapshotId>,
    _held: Option<Lock>,
}

impl Active {
    /// The id it will have.
    pub fn id(&self) -> SnapshotId {
        self.layer.id
    }

    /// The snapshot it lies on.
    pub fn parent(&self) -> Option<SnapshotId> {
        self.parent
    }

    /// Where to write: the overlay's `upperdir`, or a plain directory to fill.
    pub fn upper(&self) -> &Path {
        &self.layer.upper
    }

    /// The overlay's `workdir`.
    pub fn work(&self) -> &Path {
        &self.layer.work.1
    }

    /// The overlay's lower directories, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layer.lower
    }

    /// Makes it a snapshot: from now on it must not change any more.
    ///
    /// Nothing may be mounted on it or write to it when this is called. Nothing is copied. The
    /// snapshot is held until something is built on it or the store is dropped.
    pub fn commit(mut self) -> Result<SnapshotId> {
        let (store, id) = (self.unfinished.store.clone(), self.id());
        let inner = store.inner();
        if let Some(lock) = &self.unfinished.lock {
            // Whoever comes in between the two locks finds a mark and no row, and stays away.
            lock.downgrade()
                .map_err(|errno| inner.root.error("commit", layout::snapshot(id), errno))?;
        }
        self.enter(None)?;
        // Handed over: the child now keeps its parents, and this handle the child.
        let hold = self.unfinished.lock.take();
        inner.fresh.insert_snapshot(id, || Ok(hold))?;
        if let Some(parent) = self.parent {
            inner.fresh.release_snapshot(parent);
        }
        Ok(id)
    }

    /// Makes it the writable layer of a container: it stays when this process ends, until the
    /// container is [deleted](Store::delete_container).
    ///
    /// # Errors
    /// [`StoreError::SnapshotInUse`] when the container has one already.
    pub fn keep(mut self, container: &str) -> Result<ContainerLayer> {
        if let Some(other) = self.unfinished.store.inner().layer_of(container)? {
            return Err(StoreError::SnapshotInUse { id: other });
        }
        self.enter(Some(container))?;
        let lock = self.unfinished.lock.take();
        Ok(ContainerLayer { layer: self.layer, _lock: lock })
    }

    /// Enters it in the database, which is the moment from which it exists.
    fn enter(&self, container: Option<&str>) -> Result<()> {
        let (inner, id) = (self.unfinished.store.inner(), self.id());
        let created = db::nanoseconds(SystemTime::now());
        inner.db.with(|db| {
            // What a container writes is not ours to promise, hence nothing to sync.
            let mut insert = db.prepare_cached(
                "INSERT INTO snapshots (id, parent, container, created, synced)
                 VALUES (?1, ?2, ?3, ?4, ?3 IS NOT NULL)",
            )?;
            insert.execute((id, self.parent, container, created))?;
            Ok(())
        })?;
        inner.session()?.unmark(id);
        Ok(())
    }
}

/// The writable layer of a container, open in this process only. Dropping it closes it.
#[derive(Debug)]
pub struct ContainerLayer {
    layer: Layer,
    _lock: Option<Lock>,
}

impl ContainerLayer {
    /// The layer's id.
    pub fn id(&self) -> SnapshotId {
        self.layer.id
    }

    /// The overlay's `upperdir`.
    pub fn upper(&self) -> &Path {
        &self.layer.upper
    }

    /// The overlay's `workdir`.
    pub fn work(&self) -> &Path {
        &self.layer.work.1
    }

    /// The overlay's lower directories, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layer.lower
    }
}

impl Inner {
    /// Removes a snapshot that has a mark and no row, as far as that is possible now; what is left
    /// is swept after the end of this process.
    pub(crate) fn abandon(&self, id: SnapshotId) {
        let discarded = self.session().and_then(|session| {
            session.discard(&self.root, &layout::snapshot(id))?;
            session.unmark(id);
            Ok(())
        });
        drop(discarded);
    }

    /// Whether there is such a snapshot, and it is not the layer of a container.
    fn is_committed(&self, id: SnapshotId) -> Result<bool> {
        self.db.with(|db| {
            let sql = "SELECT 1 FROM snapshots WHERE id = ?1 AND container IS NULL";
            Ok(db.prepare_cached(sql)?.exists((id,))?)
        })
    }

    /// The writable layer of a container.
    pub(crate) fn layer_of(&self, container: &str) -> Result<Option<SnapshotId>> {
        self.db.with(|db| {
            let mut select = db.prepare_cached("SELECT id FROM snapshots WHERE container = ?1")?;
            Ok(select.query_row((container,), |row| row.get(0)).optional()?)
        })
    }
}

/// Makes the directory of a snapshot, and locks it.
pub(crate) fn create(
    inner: &Inner,
    id: SnapshotId,
    parent: Option<SnapshotId>,
) -> rustix::io::Result<Lock> {
    let name = layout::snapshot(id);
    rustix::fs::mkdirat(&inner.root, &name, Mode::RWXU)?;
    let upper = Lock::exclusive(rustix::fs::openat(&inner.root, &name, DIRECTORY, Mode::empty())?)?;
    let mut mode = Mode::from_raw_mode(0o755);
    if let Some(parent) = parent {
        let parent =
            rustix::fs::statat(&inner.root, layout::snapshot(parent), AtFlags::SYMLINK_NOFOLLOW)?;
        let stat = rustix::fs::fstat(&upper)?;
        if (parent.st_uid, parent.st_gid) != (stat.st_uid, stat.st_gid) {
            let (uid, gid) = (Uid::from_raw(parent.st_uid), Gid::from_raw(parent.st_gid));
            rustix::fs::fchown(&upper, Some(uid), Some(gid))?;
        }
        mode = Mode::from_raw_mode(parent.st_mode);
    }
    // Apart from mkdir, whose mode the umask cuts down, and last, since chown may drop bits.
    rustix::fs::fchmod(&upper, mode)?;
    Ok(upper)
}
