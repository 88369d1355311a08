//! The handle, and how it opens and closes.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bld_oci::Digest;

use crate::db::Database;
use crate::epoch;
use crate::error::Result;
use crate::hold::Held;
use crate::layout;
use crate::line::Parents;
use crate::root::Root;
use crate::session::{Abandoned, Session};
use crate::write_out::WriteOut;

/// A store on disk, shared by all processes that open the same root.
///
/// Clones are one handle. Dropping the last clone lets go of everything this handle held; nothing
/// needs it to be dropped, a process may end in any way.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

/// What the clones of a handle share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: Arc<Root>,
    pub(crate) db: Database,
    /// The kernel's id of this boot.
    pub(crate) boot: Vec<u8>,
    /// What this handle has made and nothing kept names yet.
    pub(crate) fresh: Held,
    /// Cache records that were hit and whose time of use is to be written.
    pub(crate) touched: Mutex<Vec<i64>>,
    /// What is known of how snapshots lie on each other.
    pub(crate) parents: Parents,
    /// Blobs whose bytes were hashed as they were written, by this process.
    pub(crate) written: Mutex<HashSet<Digest>>,
    /// Blobs that were read and are not what their name says.
    pub(crate) damaged: Mutex<BTreeSet<Digest>>,
    session: OnceLock<Session>,
    /// A session that has ended, to be used again; locked while one is started.
    pub(crate) abandoned: Mutex<Option<Abandoned>>,
    /// Sends to disk what is written, until the next sync.
    pub(crate) write_out: Mutex<Option<WriteOut>>,
}

impl Store {
    /// Opens the store at `root`, and makes it if there is none.
    ///
    /// In the usual case this costs a handful of system calls; the database is opened by the first
    /// question to it. The first opening after the machine was started recovers from whatever
    /// ended its last run; every opening removes what processes that died have left behind.
    ///
    /// # Errors
    /// When the root cannot be made, entered or locked. A database that is damaged or
    /// [too new](crate::StoreError::NewerSchema) shows at the first question.
    pub fn open(root: &Path) -> Result<Self> {
        let root = Arc::new(Root::open(root)?);
        let db = Database::new(Arc::clone(&root));
        let inner = Inner {
            root,
            db,
            boot: epoch::boot()?,
            fresh: Held::default(),
            parents: Parents::default(),
            touched: Mutex::default(),
            written: Mutex::default(),
            damaged: Mutex::default(),
            session: OnceLock::new(),
            abandoned: Mutex::default(),
            write_out: Mutex::default(),
        };
        let store = Self(Arc::new(inner));
        epoch::enter(&store)?;
        // Leftovers take space and nothing else; the next one to open tries again.
        let _ = store.sweep();
        Ok(store)
    }

    /// The root directory, absolute.
    pub fn root(&self) -> &Path {
        self.0.root.path()
    }

    /// Where containers have their files other than the root file system, one directory each.
    pub fn containers_dir(&self) -> PathBuf {
        self.0.root.join(layout::CONTAINERS)
    }

    /// Where the contents of cache mounts are, one directory each.
    pub fn cache_mounts_dir(&self) -> PathBuf {
        self.0.root.join(layout::CACHE_MOUNTS)
    }

    /// What the clones share.
    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    /// The session of this handle, started by the first write.
    pub(crate) fn session(&self) -> Result<&Session> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let session = Session::start(&self.root, abandoned.take())?;
        Ok(self.session.get_or_init(|| session))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Times of use are hints for garbage collection.
        let _ = self.write_touched();
    }
}
