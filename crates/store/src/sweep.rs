//! Removing what dead processes have left behind.

use std::sync::PoisonError;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::Result;
use crate::flock::Lock;
use crate::root::DIRECTORY;
use crate::session::Abandoned;
use crate::store::Inner;
use crate::{Store, layout, list, remove, session};

impl Store {
    /// Removes what processes that died were in the middle of. Opening the store does it, too.
    ///
    /// Nothing of a live process is touched: the kernel says who lives, by the lock that every
    /// session holds on its directory. One session that has ended is kept, for this process.
    pub fn sweep(&self) -> Result<()> {
        let inner = self.inner();
        let mut abandoned = inner.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sessions) = inner.root.open_dir(layout::SESSIONS)? else { return Ok(()) };
        let error = |errno| inner.root.error("sweep", layout::SESSIONS, errno);
        for name in list::names(&sessions).map_err(error)? {
            let session = match rustix::fs::openat(&sessions, &name, DIRECTORY, Mode::empty()) {
                Ok(session) => session,
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR) => {
                    remove::tree(&sessions, &name).map_err(error)?;
                    continue;
                }
                Err(errno) => return Err(error(errno)),
            };
            // The lock is kept until all is gone, so that others pass by.
            if let Some(session) = Lock::try_exclusive(session).map_err(error)? {
                inner.remove_marked(&session)?;
                match name.to_str() {
                    Ok(name)
                        if abandoned.is_none()
                            && session.still_named(&sessions, name).map_err(error)? =>
                    {
                        *abandoned = Some(Abandoned::tidy(session, name).map_err(error)?);
                    }
                    _ => remove::tree(&sessions, &name).map_err(error)?,
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Removes the snapshots that a dead session was making or removing. Whether one has been made
    /// or removed is decided by the database, in one commit; here the disk follows.
    fn remove_marked(&self, session: &Lock) -> Result<()> {
        let names = list::names(session)
            .map_err(|errno| self.root.error("list", layout::SESSIONS, errno))?;
        for id in names.iter().filter_map(|name| session::marked(name.to_str().ok()?)) {
            if !self.has_row(id)? {
                let name = layout::snapshot(id);
                remove::tree(&self.root, &name)
                    .map_err(|errno| self.root.error("remove", &name, errno))?;
            }
        }
        Ok(())
    }
}
