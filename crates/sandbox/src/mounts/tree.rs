//! The tree of mounts as it will be in the container, before any of it is attached.
//!
//! A mount point is looked up one component at a time, through directories held open and without
//! the kernel following a single link: links are read and followed here, inside the tree, and a
//! component that is a mount point of an earlier mount continues in that mount. What comes out is a
//! descriptor, not a path, so nobody can exchange a directory for a link between the look-up and
//! the mount, not even another container that shares a volume with this one. Missing mount points
//! are made on the way; those in the writable layer are [recorded](super::stubs) in order to be
//! removed again. Those in volumes stay, as with Docker: another container may be using them.
//!
//! A descriptor that was opened below a detached mount stays valid when that mount is attached
//! later: it refers to the mount itself, which is moved, not copied.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, mkdirat, mknodat, openat, readlinkat};
use rustix::io::Errno;
use rustix::thread::{capabilities, set_capabilities};

use super::stubs::Stubs;
use crate::ids::Shift;
use crate::sys;

/// As many links as the kernel follows, see path_resolution(7).
const MAX_LINKS: usize = 40;

/// Where something is to be mounted.
#[derive(Debug)]
pub(crate) enum Place {
    /// This file or directory.
    At(Arc<OwnedFd>),
    /// This path from the root directory, in a filesystem that only the container can make.
    Later(CString),
}

/// What to do about a missing mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make a file.
    File,
    /// Make a directory.
    Directory,
    /// Make a directory for good: it is part of what the container changes.
    Keep,
}

/// One mount.
#[derive(Debug)]
struct Mounted {
    /// Where it is, without links.
    at: PathBuf,
    /// Its root; none when only the container can make it.
    root: Option<Arc<OwnedFd>>,
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// In the order they are made; the first is the root filesystem.
    mounts: Vec<Mounted>,
    stubs: Option<Stubs>,
    /// Whose root what is made belongs to.
    shift: Option<Shift>,
}

/// A directory on the way.
struct Step {
    fd: Arc<OwnedFd>,
    /// Index of the mount it is in.
    mount: usize,
}

impl Tree {
    /// The tree with nothing but the root filesystem, and the record for what is made in it.
    pub(crate) fn new(root: Arc<OwnedFd>, stubs: Option<Stubs>, shift: Option<Shift>) -> Self {
        Self { mounts: vec![Mounted { at: PathBuf::from("/"), root: Some(root) }], stubs, shift }
    }

    /// Takes note of a mount at `at`, as [`find`](Self::find) gave it. Without a root it is one that
    /// only the container can make.
    pub(crate) fn add(&mut self, at: PathBuf, root: Option<Arc<OwnedFd>>) {
        self.mounts.push(Mounted { at, root });
    }

    /// What was made so far in the root filesystem.
    pub(crate) fn into_stubs(self) -> Option<Stubs> {
        self.stubs
    }

    /// Finds a place and its path without links. Links lead nowhere but into the tree.
    ///
    /// # Errors
    /// What the kernel says about a component, or `ELOOP`.
    pub(crate) fn find(&mut self, path: &Path, missing: Missing) -> io::Result<(Place, PathBuf)> {
        let mut todo: VecDeque<OsString> = VecDeque::new();
        push_front(&mut todo, path.as_os_str());
        let mut real = PathBuf::from("/");
        let (fd, mount) = self.mount_at(&real).unwrap_or((None, 0));
        let Some(fd) = fd else { return Ok((Place::Later(c"/".to_owned()), real)) };
        let mut way = vec![Step { fd, mount }];
        let mut links = 0;

        while let Some(name) = todo.pop_front() {
            if name.is_empty() || name == "." {
                continue;
            }
            if name == ".." {
                if way.len() > 1 {
                    way.pop();
                    real.pop();
                }
                continue;
            }
            let Some(Step { fd: dir, mount }) = way.last() else { break };
            let (dir, mount) = (Arc::clone(dir), *mount);
            let next = real.join(&name);
            if let Some((root, mount)) = self.mount_at(&next) {
                let Some(fd) = root else {
                    // Only the container can look into this one: the rest is for later.
                    let mut rest = next;
                    rest.extend(&todo);
                    let path = CString::new(rest.as_os_str().as_bytes())?;
                    return Ok((Place::Later(path), rest));
                };
                way.push(Step { fd, mount });
                real = next;
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match openat(&dir, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let last = todo.iter().all(|n| n.is_empty());
                    let what = match missing {
                        Missing::File if !last => Missing::Directory,
                        other => other,
                    };
                    self.make(&dir, mount, &next, &name, what)?;
                    openat(&dir, &name, flags, Mode::empty())?
                }
                result => result?,
            };
            if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = OsString::from_vec(readlinkat(&fd, c"", Vec::new())?.into_bytes());
                if target.as_bytes().starts_with(b"/") {
                    way.truncate(1);
                    real = PathBuf::from("/");
                }
                push_front(&mut todo, &target);
                continue;
            }
            way.push(Step { fd: Arc::new(fd), mount });
            real = next;
        }
        let fd = way.pop().map(|step| step.fd).ok_or(Errno::NOENT)?;
        Ok((Place::At(fd), real))
    }

    /// The root of the mount on top at this very path, and its index.
    fn mount_at(&self, path: &Path) -> Option<(Option<Arc<OwnedFd>>, usize)> {
        let index = self.mounts.iter().rposition(|m| m.at == path)?;
        Some((self.mounts[index].root.clone(), index))
    }

    /// Makes the mount point `name` in `dir`, which is `path` in the tree.
    fn make(
        &mut self,
        dir: &OwnedFd,
        mount: usize,
        path: &Path,
        name: &OsStr,
        what: Missing,
    ) -> io::Result<()> {
        let record = self.stubs.as_mut().filter(|_| mount == 0 && what != Missing::Keep);
        if let Some(stubs) = record {
            stubs.before(path, dir)?;
        }
        let _owner = self.shift.map(FileOwner::root_of).transpose()?;
        let made = match what {
            Missing::File => {
                mknodat(dir, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)
            }
            Missing::Directory | Missing::Keep => {
                mkdirat(dir, name, Mode::from_raw_mode(0o755)).and_then(|()| {
                    // The caller's umask took part, and who may pass matters.
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let fd = openat(dir, name, flags, Mode::empty())?;
                    fchmod(&fd, Mode::from_raw_mode(0o755))
                })
            }
        };
        match made {
            // Another container that shares the volume was faster.
            Err(Errno::EXIST) if mount != 0 => Ok(()),
            result => Ok(result?),
        }
    }
}

/// While this lives, what this thread makes belongs to a container's root, without fewer rights.
pub(super) struct FileOwner;

impl FileOwner {
    pub(super) fn root_of(shift: Shift) -> io::Result<Self> {
        let rights = capabilities(None)?;
        sys::set_file_owner(shift.outside(0), shift.outside(0))?;
        let owner = Self;
        // Those over files went with that.
        set_capabilities(None, rights)?;
        Ok(owner)
    }
}

impl Drop for FileOwner {
    fn drop(&mut self) {
        // Nobody is refused to become himself.
        let _back = sys::set_file_owner(0, 0);
    }
}

/// Puts the components of `path` in front of what is to do.
fn push_front(todo: &mut VecDeque<OsString>, path: &OsStr) {
    for name in path.as_bytes().rsplit(|b| *b == b'/') {
        todo.push_front(OsString::from_vec(name.to_vec()));
    }
}
