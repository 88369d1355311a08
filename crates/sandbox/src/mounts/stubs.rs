//! Mount points that had to be made in the writable layer, and how to make them disappear.
//!
//! A mount needs something to lie on. What is made for that is no change of the container's and
//! must not be in its layer. It is taken away when the container has ended and its overlay is gone,
//! in the upper directory itself: the stub, then directories that overlayfs copied up only because
//! of it, and the times of directories that stay. What the container changed meanwhile is told from
//! what was made here by the change time (`st_ctime`), which nothing can set.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, fstat, futimens,
    makedev, mknodat, openat2, statat, unlinkat,
};

/// The record of one container.
#[derive(Debug)]
pub(crate) struct Stubs {
    upper: OwnedFd,
    made: Vec<Stub>,
    touched: Vec<Touched>,
}

/// Something that was made.
#[derive(Debug)]
struct Stub {
    path: PathBuf,
    /// The layer had deleted what lies below, and has to do so again.
    whiteout: bool,
}

/// A directory that something was made in, or that was copied up on the way.
#[derive(Debug)]
struct Touched {
    path: PathBuf,
    /// It was not in the upper directory before.
    copied_up: bool,
    /// Its times before; none when they did not change.
    times: Option<Timestamps>,
    /// Modification and change time when the container was about to start.
    start: Option<(Time, Time)>,
}

type Time = (i64, i64);

fn modified(stat: &Stat) -> Time {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}

fn changed(stat: &Stat) -> Time {
    (stat.st_ctime, stat.st_ctime_nsec as i64)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as i64),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as i64),
    }
}

impl Stubs {
    /// A record for an upper directory.
    pub(crate) fn new(upper: OwnedFd) -> Self {
        Self { upper, made: Vec::new(), touched: Vec::new() }
    }

    /// Whether nothing was made.
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// What was made, absolute in the container.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.made.iter().map(|stub| stub.path.as_path())
    }

    /// Opens a directory of the layer. The container had it in its hands, so no link is followed.
    fn open_dir(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.upper, inside, flags, Mode::empty(), beneath)
    }

    /// Opens the directory `path` is in. Gives it with the name.
    fn open_parent<'a>(&self, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(rustix::io::Errno::INVAL)?;
        Ok((self.open_dir(path.parent().unwrap_or(path))?, name))
    }

    /// To be called before `path`, absolute in the container, is made in the directory `dir`.
    pub(crate) fn before(&mut self, path: &Path, dir: &OwnedFd) -> io::Result<()> {
        let whiteout = self.open_parent(path).is_ok_and(|(dir, name)| {
            statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                    && stat.st_rdev == makedev(0, 0)
            })
        });
        let mut times = Some(times(&fstat(dir)?));
        for above in path.ancestors().skip(1) {
            let copied_up = self.open_dir(above).is_err();
            if !self.touched.iter().any(|t| t.path == above) {
                let times = times.take();
                self.touched.push(Touched { path: above.into(), copied_up, times, start: None });
            }
            if !copied_up {
                break;
            }
            times = None;
        }
        self.made.push(Stub { path: path.to_owned(), whiteout });
        Ok(())
    }

    /// To be called when everything is made, before the container starts.
    pub(crate) fn seal(&mut self) {
        let now: Vec<_> = self.touched.iter().map(|t| self.stat(&t.path)).collect();
        for (touched, stat) in self.touched.iter_mut().zip(now) {
            touched.start = stat.map(|stat| (modified(&stat), changed(&stat)));
        }
    }

    fn stat(&self, dir: &Path) -> Option<Stat> {
        self.open_dir(dir).and_then(fstat).ok()
    }

    /// Removes what was made, after the container has ended. What cannot be removed has become the
    /// container's own.
    pub(crate) fn remove(mut self) {
        // All at first: removing something below a directory changes its times.
        self.touched.sort_by_key(|t| std::cmp::Reverse(t.path.components().count()));
        let ends: Vec<_> = self.touched.iter().map(|t| self.stat(&t.path)).collect();
        for stub in self.made.iter().rev() {
            // Nothing to be done about failures; the next stub may do better.
            let _ = self.remove_stub(stub);
        }
        for (touched, end) in self.touched.iter().zip(ends) {
            let Some((end, (start_modified, start_changed))) = end.zip(touched.start) else {
                continue;
            };
            if touched.copied_up
                && changed(&end) == start_changed
                && let Ok((dir, name)) = self.open_parent(&touched.path)
                && unlinkat(&dir, name, AtFlags::REMOVEDIR).is_ok()
            {
                continue;
            }
            let kept = match &touched.times {
                Some(before) if modified(&end) == start_modified => before.clone(),
                _ => times(&end),
            };
            let _ = self.open_dir(&touched.path).and_then(|dir| futimens(&dir, &kept));
        }
    }

    fn remove_stub(&self, stub: &Stub) -> rustix::io::Result<()> {
        let (dir, name) = self.open_parent(&stub.path)?;
        let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => unlinkat(&dir, name, AtFlags::REMOVEDIR)?,
            FileType::RegularFile if stat.st_size == 0 => {
                unlinkat(&dir, name, AtFlags::empty())?;
            }
            _ => return Ok(()),
        }
        if stub.whiteout {
            mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?;
        }
        Ok(())
    }
}
