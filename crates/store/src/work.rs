//! Work directories for overlay mounts, used again and again.
//!
//! The kernel makes a directory in each and leaves it behind, with a mark in it that forbids the next
//! mount if this one was never synced (`volatile`). Removing that takes longer than making a new work
//! directory, so a directory that was used is cleaned by a thread of its own, while the next step of
//! a build runs in another.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::flock::Lock;
use crate::remove;

/// Prefix of their names.
const WORK: &str = "work-";

/// Used ones that wait for the thread; of more, whoever needs one cleans one.
const MOST_DIRTY: usize = 4;

/// Whether a directory of a session is one of them.
pub(crate) fn is_work(name: &str) -> bool {
    name.starts_with(WORK)
}

/// The work directories of one session.
#[derive(Debug)]
pub(crate) struct WorkDirectories {
    shared: Arc<Shared>,
    cleaner: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread that cleans has in common with the others.
#[derive(Debug)]
struct Shared {
    /// The directory they are in.
    session: std::os::fd::OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Ready for use.
    clean: Vec<String>,
    /// Used.
    dirty: VecDeque<String>,
    /// Number of the next one to be made.
    next: u64,
    closed: bool,
}

impl WorkDirectories {
    /// Those of a session in which there is `names` from an earlier use.
    pub(crate) fn new(session: &Lock, names: &[CString]) -> rustix::io::Result<Self> {
        use std::os::fd::AsFd as _;
        let names = names.iter().filter_map(|name| name.to_str().ok());
        let dirty: VecDeque<_> = names.filter(|name| is_work(name)).map(str::to_owned).collect();
        let number = |name: &String| name.strip_prefix(WORK)?.parse::<u64>().ok();
        let next = dirty.iter().filter_map(number).max().map_or(0, |last| last + 1);
        let shared = Shared {
            session: rustix::io::fcntl_dupfd_cloexec(session.as_fd(), 0)?,
            state: Mutex::new(State { dirty, next, ..State::default() }),
            changed: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared), cleaner: Mutex::default() })
    }

    /// One that is ready: its name.
    pub(crate) fn take(&self, session: &Lock) -> rustix::io::Result<String> {
        let mut state = self.shared.lock();
        if let Some(name) = state.clean.pop() {
            return Ok(name);
        }
        if state.dirty.len() > MOST_DIRTY
            && let Some(name) = state.dirty.pop_front()
        {
            drop(state);
            if self.shared.clean_one(&name) {
                return Ok(name);
            }
            state = self.shared.lock();
        }
        let name = format!("{WORK}{}", state.next);
        state.next += 1;
        let has_work = !state.dirty.is_empty();
        drop(state);
        rustix::fs::mkdirat(session, &name, Mode::RWXU)?;
        if has_work {
            self.start_cleaner();
        }
        Ok(name)
    }

    /// Takes one back after use.
    pub(crate) fn give_back(&self, name: String) {
        self.shared.lock().dirty.push_back(name);
        self.shared.changed.notify_one();
        self.start_cleaner();
    }

    /// Ends the cleaning. What is not clean by now is cleaned by the next session.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        let cleaner = self.cleaner.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It ends as soon as it has cleaned what it is at. Nothing in it panics.
        let _ = cleaner.map(JoinHandle::join);
    }

    fn start_cleaner(&self) {
        let mut cleaner = self.cleaner.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaner.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("store-cleaner".to_owned());
            // Without a thread they stay dirty, and others are made.
            *cleaner = thread.stack_size(64 << 10).spawn(move || shared.clean()).ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cleans until the end of the session.
    fn clean(&self) {
        let mut state = self.lock();
        while !state.closed {
            let Some(name) = state.dirty.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let is_clean = self.clean_one(&name);
            state = self.lock();
            // What cannot be cleaned is no use to anybody.
            if is_clean {
                state.clean.push(name);
            }
        }
    }

    /// Whether the directory `name` is clean now.
    fn clean_one(&self, name: &str) -> bool {
        let cleaned = remove::tree(&self.session, format!("{name}/work"));
        matches!(cleaned, Ok(()) | Err(Errno::NOENT))
    }
}
