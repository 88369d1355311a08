//! Noticing that files change.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bld_dockerfile::ignore::{Patterns, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// How often files are looked at when the kernel does not tell of all changes.
const LOOK: Duration = Duration::from_secs(1);

/// How long nothing has to happen before changes are looked at: most come in groups.
const QUIET: Duration = Duration::from_millis(200);

/// As many groups of changes are put together.
const PATIENCE: u32 = 20;

/// By what it shows that a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        // That something in it changes is no change of a directory.
        let own = !metadata.is_dir();
        Self {
            inode: metadata.ino(),
            size: if own { metadata.size() } else { 0 },
            mode: metadata.mode(),
            modified: if own { (metadata.mtime(), metadata.mtime_nsec()) } else { (0, 0) },
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_dir(self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode).is_dir()
    }
}

/// Files by their paths from where they are looked for; the one there has none.
pub(super) type Files = BTreeMap<PathBuf, Stamp>;

/// Which files count.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Not these.
    pub(super) ignored: Patterns,
    /// These only, unless it is empty.
    pub(super) included: Patterns,
}

/// What is at `root` and below it; nothing if it is not there.
pub(super) fn find(root: &Path, choice: &Choice) -> io::Result<Files> {
    let mut files = Files::new();
    let Some(metadata) = gone(fs::metadata(root))? else { return Ok(files) };
    files.insert(PathBuf::new(), Stamp::of(&metadata));
    if metadata.is_dir() {
        walk(root, Path::new(""), choice, None, &mut files)?;
    }
    Ok(files)
}

/// Nothing, when a file has gone meanwhile.
fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn walk(
    root: &Path,
    below: &Path,
    choice: &Choice,
    above: Option<&Verdict>,
    files: &mut Files,
) -> io::Result<()> {
    let Some(entries) = gone(fs::read_dir(root.join(below)))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let Some(metadata) = gone(entry.metadata())? else { continue };
        let path = below.join(entry.file_name());
        let text = path.to_string_lossy();
        let verdict = choice.ignored.enter(above, &text);
        let counts =
            !verdict.excluded() && (choice.included.is_empty() || choice.included.matches(&text));
        if counts {
            files.insert(path.clone(), Stamp::of(&metadata));
        }
        let enters = !verdict.excluded() || choice.ignored.may_contain_exception_below(&text);
        if metadata.is_dir() && enters {
            walk(root, &path, choice, Some(&verdict), files)?;
        }
    }
    Ok(())
}

/// Files that came or changed, and files that went, between two looks.
pub(super) fn differences(before: &Files, now: &Files) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let changed = now.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp));
    let removed = before.keys().filter(|path| !now.contains_key(*path));
    (changed.map(|(path, _)| path.clone()).collect(), removed.cloned().collect())
}

/// Waits for changes below directories.
pub(super) struct Waiter {
    inotify: Option<OwnedFd>,
}

impl Waiter {
    pub(super) fn new() -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Self { inotify: inotify::init(flags).ok() }
    }

    /// Looks at what is at `root` from now on: at each directory of `files`, and at the one that
    /// `root` is in. A second time changes nothing.
    pub(super) fn add(&mut self, root: &Path, files: &Files) {
        let Some(fd) = &self.inotify else { return };
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVE;
        let dirs = files.iter().filter(|(_, stamp)| stamp.is_dir());
        let dirs = dirs.map(|(path, _)| root.join(path));
        for dir in dirs.chain(root.parent().map(Path::to_owned)) {
            match inotify::add_watch(fd, &dir, flags) {
                Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                // There is a limit for each user: without the kernel's help then.
                Err(_) => {
                    self.inotify = None;
                    return;
                }
            }
        }
    }

    /// Returns when something may have changed, and it is quiet again.
    pub(super) fn wait(&self) {
        let Some(fd) = &self.inotify else { return thread::sleep(LOOK) };
        if !happens(fd, None) {
            return thread::sleep(LOOK);
        }
        for _ in 0..PATIENCE {
            if !happens(fd, Some(QUIET)) {
                break;
            }
        }
    }
}

/// Whether something happens within a time; what it was is not looked at.
fn happens(fd: &OwnedFd, most: Option<Duration>) -> bool {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let ready = poll(&mut fds, most.as_ref()).is_ok_and(|ready| ready > 0);
    if ready {
        let mut events = [0; 16384];
        while rustix::io::read(fd, &mut events).is_ok_and(|read| read > 0) {}
    }
    ready
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    #[test]
    fn changes_are_those_that_count() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::create_dir_all(at("node_modules/x")).unwrap();
        for file in ["src/a", "src/deep/b", "node_modules/x/c"] {
            fs::write(at(file), "one").unwrap();
        }
        let choice = Choice {
            ignored: Patterns::parse("node_modules/\n").unwrap(),
            included: Patterns::default(),
        };
        let before = find(dir.path(), &choice).unwrap();
        fs::write(at("src/a"), "two!").unwrap();
        fs::write(at("node_modules/x/c"), "two!").unwrap();
        fs::write(at("new"), "").unwrap();
        fs::remove_file(at("src/deep/b")).unwrap();
        let now = find(dir.path(), &choice).unwrap();
        let (changed, removed) = differences(&before, &now);
        assert_eq!(changed, [PathBuf::from("new"), PathBuf::from("src/a")]);
        assert_eq!(removed, [PathBuf::from("src/deep/b")]);
        assert!(find(&at("nowhere"), &choice).unwrap().is_empty());
    }
}
