//! One pass of the collection: one transaction, then the files.

use std::os::fd::OwnedFd;

use bld_oci::Digest;
use rusqlite::{Connection, Transaction};

use super::{Doomed, GcReport, Graph, Roots};
use crate::db::{self, bytes};
use crate::error::Result;
use crate::flock::Lock;
use crate::store::Inner;
use crate::{SnapshotId, blob, layout};

/// How many images, snapshots and blobs, each, may go in one pass: they are locked, which takes a
/// descriptor. A transaction must end soon, since others wait for it, and be small, since the disk
/// may be full.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) objects: usize,
}

impl Limits {
    fn of(doomed: &Doomed) -> Self {
        if doomed.dry_run { Self { objects: usize::MAX } } else { Self { objects: 128 } }
    }
}

/// What goes in one pass.
#[derive(Default)]
struct Plan {
    images: Vec<Digest>,
    /// Children before their parents.
    snapshots: Vec<SnapshotId>,
    blobs: Vec<Digest>,
    bytes: u64,
    /// Locks on the snapshots and blobs.
    locks: Vec<Lock>,
    /// There is more than fits in one pass.
    more: bool,
}

/// Whether something can be had.
pub(crate) enum Seized {
    /// A live process holds it.
    Busy,
    /// Nobody does: here is the exclusive lock, unless there is no file any more.
    Free(Option<Lock>),
}

impl Inner {
    /// Removes what is not in use, up to a limit; whether there is more.
    pub(super) fn pass(&self, doomed: &Doomed, report: &mut GcReport) -> Result<bool> {
        let plan = if doomed.dry_run {
            self.db.with(|db| self.plan(db, doomed))?
        } else {
            self.db.write(|tx| {
                let plan = self.plan(tx, doomed)?;
                self.forget(tx, &plan)?;
                forget_records(tx, doomed)?;
                Ok(plan)
            })?
        };
        report.images.extend(&plan.images);
        report.snapshots.extend(&plan.snapshots);
        report.blobs.extend(&plan.blobs);
        report.bytes += plan.bytes;
        if doomed.dry_run {
            return Ok(false);
        }
        for id in plan.snapshots {
            self.abandon(id);
        }
        for digest in &plan.blobs {
            self.root.unlink(&layout::blob(digest))?;
        }
        drop(plan.locks);
        Ok(plan.more)
    }

    /// Decides what goes, and locks it.
    fn plan(&self, db: &Connection, doomed: &Doomed) -> Result<Plan> {
        let mut graph = Graph::load(db)?;
        let limits = Limits::of(doomed);
        let mut roots = Roots::mark(self, db, doomed, limits, &mut graph)?;
        let mut plan = Plan { more: roots.more, ..Plan::default() };
        let take = |plan: &mut Plan, lock: Option<Lock>| {
            plan.locks.extend(lock.filter(|_| !doomed.dry_run));
        };

        for id in graph.garbage() {
            if plan.snapshots.len() == limits.objects {
                plan.more = true;
                break;
            }
            if graph.is_live(id) {
                continue; // something on it turned out to be held
            }
            match self.seize_snapshot(id)? {
                Seized::Busy => graph.mark(id),
                Seized::Free(lock) => {
                    take(&mut plan, lock);
                    plan.bytes += graph.disk(id);
                    plan.snapshots.push(id);
                }
            }
        }
        // Which layers are in use is known when all snapshots have been tried.
        if !plan.more {
            let live = roots.live_blobs(db, &graph)?;
            let mut select = db.prepare_cached("SELECT digest, size FROM blobs")?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                let digest = db::digest(row, 0)?;
                if live.contains(&digest) {
                    continue;
                }
                if plan.blobs.len() == limits.objects {
                    plan.more = true;
                    break;
                }
                let seized = match roots.locks.remove(&digest) {
                    Some(lock) => Seized::Free(lock),
                    None => self.seize_blob(&digest)?,
                };
                if let Seized::Free(lock) = seized {
                    take(&mut plan, lock);
                    plan.bytes += row.get::<_, i64>(1)?.cast_unsigned();
                    plan.blobs.push(digest);
                }
            }
        }
        plan.locks.extend(roots.locks.into_values().flatten());
        plan.images = roots.dangling;
        Ok(plan)
    }

    /// Takes what goes out of the database. The marks are for the time between the commit and the
    /// end of the removal; without a commit they mean nothing.
    fn forget(&self, tx: &Transaction<'_>, plan: &Plan) -> Result<()> {
        for digest in &plan.images {
            tx.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute((bytes(digest),))?;
        }
        for id in &plan.snapshots {
            self.session()?.mark(&self.root, *id)?;
            // Records and steps go with it.
            tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute((id,))?;
        }
        plan.blobs.iter().try_for_each(|digest| blob::forget(tx, digest))
    }

    /// Locks a snapshot exclusively, if it can be had.
    pub(crate) fn seize_snapshot(&self, id: SnapshotId) -> Result<Seized> {
        let name = layout::snapshot(id);
        self.seize(&name, self.root.open_dir(&name)?)
    }

    /// Locks a blob exclusively, if it can be had.
    pub(crate) fn seize_blob(&self, digest: &Digest) -> Result<Seized> {
        let name = layout::blob(digest);
        self.seize(&name, self.root.open_file(&name)?)
    }

    pub(crate) fn seize(&self, name: &str, fd: Option<OwnedFd>) -> Result<Seized> {
        let Some(fd) = fd else { return Ok(Seized::Free(None)) };
        match Lock::try_exclusive(fd) {
            Ok(lock @ Some(_)) => Ok(Seized::Free(lock)),
            Ok(None) => Ok(Seized::Busy),
            Err(errno) => Err(self.root.error("lock", name, errno)),
        }
    }
}

/// Forgets records that name no file.
fn forget_records(tx: &Transaction<'_>, doomed: &Doomed) -> Result<()> {
    if let Some(until) = doomed.records_until {
        let sql = "DELETE FROM records WHERE snapshot IS NULL AND used <= ?1";
        tx.prepare_cached(sql)?.execute((db::nanoseconds(until),))?;
    }
    Ok(())
}
