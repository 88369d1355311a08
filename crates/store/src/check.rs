//! Proving that the store is whole: hash everything again.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use bld_oci::Digest;
use rustix::fs::Mode;

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::root::DIRECTORY;
use crate::store::Inner;
use crate::{SnapshotId, Store, db, epoch, layout, list, parallel, work};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A blob that is named is not there.
    #[error("blob {digest} is missing")]
    MissingBlob {
        /// The blob.
        digest: Digest,
    },
    /// A blob has other bytes than its name says.
    #[error("blob {digest} is damaged: its bytes hash to {found}")]
    DamagedBlob {
        /// The blob.
        digest: Digest,
        /// Digest of its bytes.
        found: Digest,
    },
    /// The directory of a snapshot is not there.
    #[error("the files of snapshot {id} are missing")]
    MissingSnapshot {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A snapshot has other content than when its digest was computed.
    #[error("snapshot {id} is damaged: its layer is {found}, it was {diff_id}")]
    DamagedSnapshot {
        /// The snapshot.
        id: SnapshotId,
        /// Its layer as recorded.
        diff_id: Digest,
        /// Its layer as it is.
        found: Digest,
    },
    /// Something does not belong here; it takes space and does no harm.
    #[error("{} is a leftover", path.display())]
    Leftover {
        /// Where it is.
        path: PathBuf,
    },
    /// Something could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The database is inconsistent.
    #[error("the database is damaged: {reason}")]
    Database {
        /// What SQLite says.
        reason: String,
    },
}

/// Computes the diff id of an upper directory; given by those who know how to write layers.
pub type DiffIdOf<'a> = &'a (dyn Fn(&Path) -> io::Result<Digest> + Sync);

impl Store {
    /// Looks at everything, and hashes every blob. What is written meanwhile is not looked at.
    ///
    /// # Errors
    /// When the looking itself is not possible; whatever is wrong with the store is a [`Problem`].
    pub fn check(&self) -> Result<Vec<Problem>> {
        let inner = self.inner();
        let mut problems = inner.check_database()?;
        problems.extend(inner.check_blobs()?);
        problems.extend(inner.check_snapshots()?);
        problems.extend(inner.find_leftovers()?);
        Ok(problems)
    }

    /// As [`check`](Self::check), and hashes every snapshot that was made here and whose diff id is
    /// known.
    pub fn check_with(&self, diff_id: DiffIdOf<'_>) -> Result<Vec<Problem>> {
        let inner = self.inner();
        let mut problems = self.check()?;
        let known = inner.db.with(|db| {
            let mut select = db.prepare(
                // What was unpacked from an archive made elsewhere gives another archive.
                "SELECT id, diff_id FROM snapshots WHERE diff_id IS NOT NULL AND container IS NULL
                 AND NOT absent
                 AND NOT EXISTS (SELECT 1 FROM chains WHERE snapshot = id AND chain = content)",
            )?;
            let rows = select.query_map((), |row| Ok((row.get(0)?, db::digest(row, 1)?)))?;
            Ok(rows.collect::<Result<Vec<(SnapshotId, Digest)>, _>>()?)
        })?;
        problems.extend(in_parallel(&known, |(id, expected)| {
            let path = inner.upper(*id);
            match diff_id(&path) {
                Ok(found) if found == *expected => None,
                Ok(found) => Some(Problem::DamagedSnapshot { id: *id, diff_id: *expected, found }),
                // Missing has been said, removed meanwhile is nobody's concern.
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => Some(Problem::Unreadable { path, reason: e.to_string() }),
            }
        }));
        Ok(problems)
    }
}

impl Inner {
    fn check_database(&self) -> Result<Vec<Problem>> {
        self.db.with(|db| {
            let mut problems = Vec::new();
            let mut integrity = db.prepare("PRAGMA integrity_check")?;
            for reason in integrity.query_map((), |row| row.get::<_, String>(0))? {
                problems.push(Problem::Database { reason: reason? });
            }
            problems.retain(
                |problem| !matches!(problem, Problem::Database { reason } if reason == "ok"),
            );
            let mut references = db.prepare("PRAGMA foreign_key_check")?;
            let dangling = references.query_map((), |row| {
                let (table, target): (String, String) = (row.get(0)?, row.get(2)?);
                Ok(format!("a row of {table} refers to nothing in {target}"))
            })?;
            for reason in dangling {
                problems.push(Problem::Database { reason: reason? });
            }
            Ok(problems)
        })
    }

    fn check_blobs(&self) -> Result<Vec<Problem>> {
        let named: HashSet<[u8; 32]> = self.column("SELECT digest FROM blobs")?;
        let mut blobs: HashSet<Digest> = list::blobs(&self.root)?.into_iter().collect();
        blobs.extend(named.into_iter().map(Digest::from_bytes));
        let blobs: Vec<Digest> = blobs.into_iter().collect();
        Ok(in_parallel(&blobs, |digest| match epoch::hash_blob(&self.root, digest) {
            Ok(Some(found)) if found == *digest => None,
            Ok(Some(found)) => Some(Problem::DamagedBlob { digest: *digest, found }),
            Ok(None) => {
                let named = self.has_blob_row(digest).unwrap_or(true);
                named.then_some(Problem::MissingBlob { digest: *digest })
            }
            Err(e) => Some(self.unreadable(layout::blob(digest), &e)),
        }))
    }

    fn check_snapshots(&self) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for id in self.column::<SnapshotId>("SELECT id FROM snapshots")? {
            let found = self.root.open_dir(&layout::snapshot(id))?.is_some();
            if !found && self.has_row(id)? {
                problems.push(Problem::MissingSnapshot { id });
            }
        }
        Ok(problems)
    }

    /// What should have been swept, and what nobody has ever put there.
    fn find_leftovers(&self) -> Result<Vec<Problem>> {
        let mut leftovers = Vec::new();
        for id in self.nameless_snapshots()? {
            let name = layout::snapshot(id);
            if self.root.open_dir(&name)?.is_some() {
                leftovers.push(name); // not just removed
            }
        }
        for (directory, known) in [
            (layout::BLOBS, (|name| Digest::from_hex(name).is_ok()) as fn(&str) -> bool),
            (layout::SNAPSHOTS, |name| name.parse::<SnapshotId>().is_ok()),
            (layout::MERGED, |name| name.parse::<SnapshotId>().is_ok()),
        ] {
            let names = list::texts(&self.root, directory)?;
            let strange = names.iter().filter(|name| !known(name));
            leftovers.extend(strange.map(|name| format!("{directory}/{name}")));
        }
        for name in list::texts(&self.root, layout::SESSIONS)? {
            let name = format!("{}/{name}", layout::SESSIONS);
            if let Ok(session) = rustix::fs::openat(&self.root, &name, DIRECTORY, Mode::empty())
                && let Ok(Some(session)) = Lock::try_exclusive(session)
                && list::names(&session).is_ok_and(|names| {
                    !names.iter().all(|name| name.to_str().is_ok_and(work::is_work))
                })
            {
                leftovers.push(name);
            }
        }
        Ok(leftovers
            .into_iter()
            .map(|name| Problem::Leftover { path: self.root.join(name) })
            .collect())
    }

    fn unreadable(&self, name: String, error: &StoreError) -> Problem {
        use std::error::Error as _;
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Problem::Unreadable { path: self.root.join(name), reason }
    }
}

/// What `look` finds.
fn in_parallel<T: Sync>(items: &[T], look: impl Fn(&T) -> Option<Problem> + Sync) -> Vec<Problem> {
    parallel::map(items, look).into_iter().flatten().collect()
}
