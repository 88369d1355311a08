//! For containers that other runtimes make: filesystems that they and nobody else see, and their first
//! process as one of ours.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::mount::{
    MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount,
};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, set_child_subreaper};

use crate::cgroup::{Cgroup, Hierarchies};
use crate::error::SandboxError;
use crate::mounts::{mount_root, open_path, open_within};
use crate::process::{Leftovers, Process};
use crate::spec::Root;
use crate::sys;

/// Runs `work` on a thread with mounts of its own, which has `roots` at their directories. What `work`
/// starts sees them as well; the host does not, and they go with the last process that sees them. Where
/// control groups of both versions are mounted, only the first is there: crun refuses to run otherwise.
///
/// # Errors
/// The mount that failed.
pub fn on_stage<T: Send>(
    roots: &[(Root, PathBuf)],
    work: impl FnOnce() -> T + Send,
) -> Result<T, SandboxError> {
    let set = || -> Result<T, SandboxError> {
        let failed = |e: rustix::io::Errno| SandboxError::setup("make a stage for a container", e);
        sys::unshare(libc::CLONE_NEWNS).map_err(failed)?;
        // Nothing that is mounted from here on reaches the host.
        let all = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        all.and_then(|all| sys::seal_mount(&all, MountAttrFlags::empty(), true)).map_err(failed)?;
        let groups =
            Hierarchies::get().map_err(|e| SandboxError::setup("find control groups", e))?;
        if let Some(second) = groups.unified.as_ref().filter(|_| !groups.v1.is_empty()) {
            unmount(&second.mount, UnmountFlags::DETACH).map_err(failed)?;
        }
        for (root, at) in roots {
            let mount = mount_root(root)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&mount, c"", CWD, at, flags).map_err(failed)?;
        }
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("stage".to_owned()).spawn_scoped(scope, set);
        let thread = thread.map_err(|e| SandboxError::setup("start a thread", e))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Has a file or directory below `dir`, out of which no link leads, at `at`, which is made. To be called
/// on a stage.
///
/// # Errors
/// There is no such file.
pub fn show_below(dir: &Path, path: &str, at: &Path) -> io::Result<()> {
    let path = CString::new(path.trim_start_matches('/'))?;
    let found = open_within(open_path(dir)?, &path)?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Directory {
        std::fs::create_dir_all(at)?;
    } else {
        std::fs::File::create(at)?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&found, c"", flags)?;
    Ok(move_mount(&mount, c"", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// From now on this process gets those as its children whose parents end, so that it can
/// [`adopt`](Process::adopt) them.
///
/// # Errors
/// The kernel's refusal.
pub fn take_orphans() -> Result<(), SandboxError> {
    set_child_subreaper(Some(getpid()))
        .map_err(|e| SandboxError::setup("take over children of others", e))
}

impl Process {
    /// The first process of a container, or one in it, that another runtime has started for us and that
    /// has become our child; see [`take_orphans`]. `terminal` is our side of its terminal. With the
    /// `first` one its control group ends; what is left there is killed if it `outlives` it.
    ///
    /// # Errors
    /// There is no such process.
    pub fn adopt(
        pid: i32,
        terminal: Option<OwnedFd>,
        first: bool,
        outlives: bool,
    ) -> Result<Self, SandboxError> {
        let failed = |e: rustix::io::Errno| SandboxError::setup("find the new process", e);
        let number = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).map_err(failed)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(failed)?;
        // It may have ended by now, and is none the worse for it.
        let cgroup = if first { Cgroup::of(pid).ok().flatten() } else { None };
        Ok(Self::new(pid, pidfd, terminal, Leftovers { cgroup, stubs: None, outlives }))
    }
}
