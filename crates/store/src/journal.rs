//! Journals of builds: a file for each, written while the build runs and kept for a while.
//!
//! A journal is held by an exclusive lock while it is written, so that others can tell a build that
//! runs from one that was killed. Lines are appended in whole and never changed; nothing is flushed to
//! the disk, for a power cut may take what was only there to be looked at. Names sort by time.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Result, StoreError};
use crate::flock::Lock;
use crate::{Store, db, layout, list};

/// Journals that are kept however old they are, as BuildKit does.
const KEPT: usize = 50;

/// How long those beyond that are kept, as BuildKit does.
const KEPT_FOR: Duration = Duration::from_hours(48);

/// What the names end in: one JSON document for each line.
const SUFFIX: &str = ".jsonl";

/// Letters and digits of a reference, and what they are chosen from.
const REFERENCE: usize = 25;
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The journal of one build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Journal {
    /// When the build began.
    pub began: SystemTime,
    /// What the build is called by.
    pub reference: String,
}

impl Journal {
    /// A name for a build that begins now.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub fn new() -> Result<Self> {
        let mut random = [0; REFERENCE];
        getrandom(&mut random, GetRandomFlags::empty())
            .map_err(|errno| StoreError::io("read random numbers from", "/dev/urandom", errno))?;
        let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
        Ok(Self { began: SystemTime::now(), reference: random.iter().map(letter).collect() })
    }

    /// The name of a build that began somewhere else; none if it is no reference.
    pub fn named(began: SystemTime, reference: String) -> Option<Self> {
        let fits = reference.len() == REFERENCE && reference.bytes().all(|b| LETTERS.contains(&b));
        fits.then_some(Self { began, reference })
    }

    fn file(&self) -> String {
        format!(
            "{}/{:016x}-{}{SUFFIX}",
            layout::JOURNALS,
            db::nanoseconds(self.began),
            self.reference
        )
    }

    fn parse(name: &str) -> Option<Self> {
        let (began, reference) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let began = db::time(i64::from_str_radix(began, 16).ok()?);
        Some(Self { began, reference: reference.to_owned() })
    }
}

/// A journal that was opened.
#[derive(Debug)]
pub struct OpenJournal {
    /// The file; at its beginning.
    pub file: File,
    /// Somebody still writes to it.
    pub is_live: bool,
}

impl Store {
    /// Makes the file of a journal and holds it until it is closed.
    pub fn begin_journal(&self, journal: &Journal) -> Result<File> {
        let root = &self.inner().root;
        let name = journal.file();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(root, &name, flags, Mode::RUSR | Mode::WUSR);
        let opened = match open() {
            Err(Errno::NOENT) => {
                root.ensure_dir(layout::JOURNALS)?;
                open()
            }
            opened => opened,
        };
        let file = opened.map_err(|errno| root.error("create", &name, errno))?;
        // Somebody may be asking whether it is live, for a moment.
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| root.error("lock", &name, errno))?;
        Ok(file.into())
    }

    /// All journals, the newest first.
    pub fn journals(&self) -> Result<Vec<Journal>> {
        let names = list::texts(&self.inner().root, layout::JOURNALS)?;
        let mut journals: Vec<Journal> =
            names.iter().filter_map(|name| Journal::parse(name)).collect();
        journals.sort_unstable_by(|a, b| b.cmp(a));
        Ok(journals)
    }

    /// Opens a journal; `None` if it was removed.
    pub fn open_journal(&self, journal: &Journal) -> Result<Option<OpenJournal>> {
        let root = &self.inner().root;
        let name = journal.file();
        let Some(file) = root.open_file(&name)? else { return Ok(None) };
        let probe = rustix::io::fcntl_dupfd_cloexec(&file, 0)
            .map_err(|errno| root.error("open", &name, errno))?;
        let is_live = !self.is_free(&name, probe)?;
        Ok(Some(OpenJournal { file: file.into(), is_live }))
    }

    /// Whether nobody writes the journal; asked by a lock, let go at once.
    fn is_free(&self, name: &str, file: OwnedFd) -> Result<bool> {
        let root = &self.inner().root;
        let free = Lock::try_shared(file).map_err(|errno| root.error("lock", name, errno))?;
        let Some(lock) = free else { return Ok(false) };
        lock.unlock().map_err(|errno| root.error("unlock", name, errno))?;
        Ok(true)
    }

    /// Where a journal lies.
    pub fn journal_path(&self, journal: &Journal) -> PathBuf {
        self.inner().root.join(journal.file())
    }

    /// Removes a journal, unless somebody writes it; whether it did.
    pub fn remove_journal(&self, journal: &Journal) -> Result<bool> {
        let root = &self.inner().root;
        let name = journal.file();
        let Some(file) = root.open_file(&name)? else { return Ok(false) };
        let lock = Lock::try_exclusive(file).map_err(|errno| root.error("lock", &name, errno))?;
        match lock {
            Some(_ours) => root.unlink(&name),
            None => Ok(false),
        }
    }

    /// Removes the journals that are neither among the newest nor young.
    pub fn remove_old_journals(&self) -> Result<()> {
        let journals = self.journals()?;
        self.remove_journals_from(journals.into_iter().skip(KEPT), KEPT_FOR)
    }

    /// Removes the journals of builds that began longer ago than `age`.
    pub(crate) fn remove_journals_older(&self, age: Duration) -> Result<()> {
        let journals = self.journals()?;
        self.remove_journals_from(journals.into_iter(), age)
    }

    fn remove_journals_from(
        &self,
        journals: impl Iterator<Item = Journal>,
        age: Duration,
    ) -> Result<()> {
        let now = SystemTime::now();
        for journal in journals {
            if now.duration_since(journal.began).is_ok_and(|since| since >= age) {
                self.remove_journal(&journal)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_read_back() -> Result<()> {
        let (first, second) = (Journal::new()?, Journal::new()?);
        assert!(first < second && first.file() < second.file());
        let name = first.file();
        let name = name.strip_prefix("journals/").unwrap_or_default();
        assert_eq!(Journal::parse(name), Some(first));
        assert_eq!(Journal::parse("x.jsonl"), None);
        Ok(())
    }
}
