//! Work that is done once, however many builds need it: who comes later waits, and sees what the
//! first one prints.
//!
//! Whoever works on a step has the store's lock named after the step's definition. It also has a
//! lock on the log while that is written, so that a log of long ago is not taken for one of now.
//! The kernel lets go of both when a process dies, however it dies; then one of those who wait goes
//! on with the step from its beginning.
//!
//! Nobody waits in a circle. A step takes the lock of its definition first, then those of its cache
//! mounts in the order of their keys, then, for moments, those under which something is put into
//! the store. It has no other lock of a definition meanwhile, and those it waits for are in the
//! hands of steps that run. What it needs of other steps is there before it takes any.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bld_event::{EventKind, Stream};
use bld_graph::{MountKind, Op};
use bld_oci::Digest;
use bld_store::{KeyLock, SnapshotId};
use rustix::fs::{FlockOperation, XattrFlags, fgetxattr, flock, setxattr};
use rustix::io::Errno;

use crate::error::StepFailure;
use crate::evaluate::{Known, by_definition, recorded};
use crate::execute::Traces;
use crate::solver::Build;

/// Time between two looks at a lock that somebody else has: first, and in the end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Most bytes of somebody else's log that are passed on at once.
const CHUNK: usize = 64 << 10;

/// Whose turn it is to work on a step.
pub(crate) enum Turn {
    /// Ours.
    Ours {
        /// Nobody else works on it while this is held; none: somebody does, but began before this
        /// build, which is to do it again.
        lock: Option<KeyLock>,
        /// It was somebody else's before, and has been told to have started.
        has_waited: bool,
    },
    /// Somebody else has done it.
    Done(SnapshotId),
    /// Somebody else has tried it, as we would.
    Failed(StepFailure),
}

/// Finds out whose turn it is to work on step `index`; waits for those who do.
pub(crate) fn turn(
    build: &Build,
    index: usize,
    definition: &Digest,
    traces: &mut Traces,
) -> Result<Turn, StepFailure> {
    let (store, step, key) = (&build.env.store, &build.steps[index], definition.hex());
    if let Some(lock) = store.try_lock(&key)? {
        return Ok(match by_definition(build, step)? {
            Known::Result(snapshot) => Turn::Done(snapshot),
            _ => Turn::Ours { lock: Some(lock), has_waited: false },
        });
    }
    let mut other = Other::new(build, index, definition);
    let lock = build.poll(|| {
        other.show()?;
        if step.forced && other.is_older {
            return Ok(Some(None));
        }
        Ok(store.try_lock(&key)?.map(Some))
    })?;
    let Some(lock) = lock else {
        build.note(index, "the other build began earlier than this one: running the step again");
        return Ok(Turn::Ours { lock: None, has_waited: true });
    };
    other.show()?;
    if !step.forced || other.has_log {
        if let Known::Result(snapshot) = recorded(build, step, definition)? {
            other.show_all()?;
            return Ok(Turn::Done(snapshot));
        }
        if let Some(failure) = other.failure()? {
            other.show_all()?;
            traces.log = Some(other.path);
            traces.kept = store.step(definition)?.is_some_and(|step| step.failed);
            return Ok(Turn::Failed(failure));
        }
    }
    build.note(index, "the other build has given the step up: running it here");
    Ok(Turn::Ours { lock: Some(lock), has_waited: true })
}

/// What somebody else is doing about a step.
struct Other<'a> {
    build: &'a Build,
    index: usize,
    /// Where the log is, or is going to be.
    path: PathBuf,
    /// The inode of the log that there was when we began to wait.
    before: Option<u64>,
    /// What is being written.
    log: Option<File>,
    /// What was being written before that.
    written: Option<File>,
    /// There was a log to show.
    has_log: bool,
    /// The step began before this build.
    is_older: bool,
}

impl<'a> Other<'a> {
    fn new(build: &'a Build, index: usize, definition: &Digest) -> Self {
        build.emit(index, EventKind::Started);
        build.note(
            index,
            match build.op(index) {
                Op::Exec(_) => "another build is running this step, and this is what it prints:",
                _ => "another build is doing this: waiting for it",
            },
        );
        let path = build.env.store.step_log(definition);
        let before = path.metadata().map(|log| log.ino()).ok();
        Self {
            build,
            index,
            path,
            before,
            log: None,
            written: None,
            has_log: false,
            is_older: false,
        }
    }

    /// Passes on what has been written since the last look.
    fn show(&mut self) -> Result<(), StepFailure> {
        if self.log.is_none()
            && let Some(log) = self.open()?.filter(is_written)
        {
            self.has_log = true;
            // A file system that does not know when a file was made says nothing in our favour.
            let began = log.metadata().and_then(|log| log.created());
            self.is_older = began.map_or(true, |began| began < self.build.began);
            self.log = Some(log);
        }
        if let Some(log) = self.log.take() {
            let is_written = is_written(&log);
            self.pass_on(&log)?;
            if is_written {
                self.log = Some(log);
            } else {
                self.written = Some(log);
            }
        }
        Ok(())
    }

    /// Passes on the whole log if it was written between two looks.
    fn show_all(&mut self) -> Result<(), StepFailure> {
        if !std::mem::replace(&mut self.has_log, true)
            && let Some(log) = self.open()?
        {
            self.pass_on(&log)?;
        }
        Ok(())
    }

    fn open(&self) -> Result<Option<File>, StepFailure> {
        match File::open(&self.path) {
            Ok(log) => Ok(Some(log)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    fn pass_on(&self, mut log: &File) -> Result<(), StepFailure> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match log.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    // Which stream it was is not in the log.
                    let data = buffer[..length].to_vec();
                    self.build.emit(self.index, EventKind::Log { stream: Stream::Stdout, data });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }

    fn unreadable(&self, error: io::Error) -> StepFailure {
        StepFailure::io(format!("read {}", self.path.display()))(error)
    }

    /// How the step failed while we waited, if it would have failed here just so.
    fn failure(&self) -> Result<Option<StepFailure>, StepFailure> {
        let Self { build, index, .. } = *self;
        let Op::Exec(op) = build.op(index) else { return Ok(None) };
        // Whoever wants to look into a failure has to have it.
        if build.env.inspect.is_some() || !is_common(build, index) {
            return Ok(None);
        }
        let log = match &self.written {
            Some(log) => log.try_clone().map_err(|error| self.unreadable(error))?,
            None => match self.open()? {
                Some(log) if log.metadata().map(|log| log.ino()).ok() != self.before => log,
                _ => return Ok(None),
            },
        };
        let mut code = [0; 4];
        // Not there: it was given up, or the file system does not keep attributes.
        let is_known = fgetxattr(&log, EXIT, &mut code).is_ok_and(|length| length == code.len());
        let command = op.args.join(" ");
        Ok(is_known.then(|| StepFailure::Exit { command, code: i32::from_le_bytes(code) }))
    }
}

/// The attribute of a log that says how the process ended that wrote it, if it failed.
const EXIT: &str = "user.bld.exit";

/// Leaves word of the failure of step `index` for those who wait for it.
pub(crate) fn tell(build: &Build, index: usize, log: &Path, failure: &StepFailure) {
    if let StepFailure::Exit { code, .. } = failure
        && is_common(build, index)
    {
        // If it cannot be told, they find out for themselves.
        let _ = setxattr(log, EXIT, &code.to_le_bytes(), XattrFlags::empty());
    }
}

/// Whether step `index` ends the same in every build that has it: all that it was given is in its
/// definition. Secrets, agents, proxies and limits are each build's own.
fn is_common(build: &Build, index: usize) -> bool {
    let Op::Exec(op) = build.op(index) else { return false };
    let limits = &build.env.limits;
    let is_own =
        |kind: &MountKind| matches!(kind, MountKind::Secret { .. } | MountKind::Ssh { .. });
    !op.mounts.iter().any(|mount| is_own(&mount.kind))
        && op.extra_hosts.is_empty()
        && op.proxy_env.is_empty()
        && limits.resources == bld_sandbox::Limits::default()
        && limits.ulimits.is_empty()
        && limits.shm_size.is_none()
        && limits.cgroup_parent.is_none()
}

/// Marks `log` as being written, for as long as it is open.
pub(crate) fn mark_written(log: &File) -> io::Result<()> {
    // Others have it for moments, to see whether it is marked.
    Ok(rustix::io::retry_on_intr(|| flock(log, FlockOperation::LockExclusive))?)
}

/// Whether somebody has the log marked.
fn is_written(log: &File) -> bool {
    match flock(log, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Cannot fail: we have it.
            let _ = flock(log, FlockOperation::Unlock);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

impl Build {
    /// Asks `attempt` again and again until it gives something or the build is canceled.
    pub(crate) fn poll<T>(
        &self,
        mut attempt: impl FnMut() -> Result<Option<T>, StepFailure>,
    ) -> Result<T, StepFailure> {
        let (mut pause, longest) = PAUSES;
        loop {
            if let Some(won) = attempt()? {
                return Ok(won);
            }
            if self.cancel.is_canceled() {
                return Err(StepFailure::Canceled);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }

    /// Tells what is going on with step `index`.
    pub(crate) fn note(&self, index: usize, message: &str) {
        self.emit(index, EventKind::Note { message: message.to_owned() });
    }
}
