//! Standard streams, the working directory, and the program itself.

#![expect(unsafe_code, reason = "descriptors are moved by number, and execve(2) takes pointers")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, accessat, openat2, statat,
};
use rustix::io::{Errno, Result as SysResult, fcntl_dupfd_cloexec};

use super::report::{At, Failure, Step};
use super::{INIT, PARENT, REPORT};
use crate::plan::{Command, Plan};
use crate::sys;

/// Connects the standard streams and closes every other descriptor but those this module needs
/// until the end, which close by themselves then.
pub(super) fn connect(
    plan: &Plan,
    null: Option<OwnedFd>,
    report: &mut RawFd,
) -> Result<(), Failure> {
    // Out of the way of the numbers they are going to have: any of them may be below 6 now.
    let aside = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, INIT + 1).at(Step::Stdio);
    let streams = match (&plan.stdio, &null) {
        (Some([stdin, stdout, stderr]), _) => {
            [aside(stdin.as_fd())?, aside(stdout.as_fd())?, aside(stderr.as_fd())?]
        }
        (None, Some(null)) => [aside(null.as_fd())?, aside(null.as_fd())?, aside(null.as_fd())?],
        // In a container that exists, its /dev/null may be anything by now.
        (None, None) => return Err(Failure::new(Step::Stdio, Errno::BADF)),
    };
    let pipe = aside(plan.report.as_fd())?;
    // SAFETY: the descriptor of the calling process stays open for as long as that lives.
    let parent = plan.parent.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    let parent = parent.map(aside).transpose()?;
    let init = plan.command.init.as_ref().map(|(init, _)| aside(init.as_fd())).transpose()?;

    let mut moves = || -> SysResult<()> {
        for (n, stream) in streams.iter().enumerate() {
            // SAFETY: standard streams are not owned by any value in this process's copy of the
            // table that is used again.
            unsafe { sys::dup_onto(stream.as_raw_fd(), n as RawFd, false)? };
        }
        // SAFETY: as above: whatever had these numbers is not used any more.
        unsafe { sys::dup_onto(pipe.as_raw_fd(), REPORT, true)? };
        *report = REPORT;
        if let Some(parent) = &parent {
            // SAFETY: as above.
            unsafe { sys::dup_onto(parent.as_raw_fd(), PARENT, true)? };
        }
        if let Some(init) = &init {
            // SAFETY: as above.
            unsafe { sys::dup_onto(init.as_raw_fd(), INIT, true)? };
        }
        Ok(())
    };
    moves().at(Step::Stdio)?;
    core::mem::forget((streams, pipe, parent, init, null));
    let closed = |first, last| {
        // SAFETY: every value above that owned a descriptor is forgotten, and the plan's are the
        // parent's: closing them here closes them only in this process's table.
        unsafe { sys::close_range(first, last) }.at(Step::Descriptors)
    };
    if plan.parent.is_none() {
        closed(PARENT, PARENT)?;
    }
    if plan.command.init.is_none() {
        closed(INIT, INIT)?;
    }
    closed(INIT + 1, RawFd::MAX)?;
    if plan.terminal {
        // SAFETY: standard input was connected just now.
        let stdin = unsafe { BorrowedFd::borrow_raw(0) };
        rustix::process::ioctl_tiocsctty(stdin).at(Step::Terminal)?;
    }
    Ok(())
}

/// Enters the working directory, as the user, and makes sure that it is inside.
pub(super) fn enter_cwd(plan: &Plan) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // `/proc/self/fd/7` and the like would lead to whatever is open (CVE-2024-21626). All is
    // closed by now; and such links are not followed in the first place.
    let resolve = ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, plan.cwd.as_c_str(), flags, Mode::empty(), resolve)
        .and_then(rustix::process::fchdir)
        .at(Step::Cwd)?;
    match sys::cwd_is_inside_root() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new(Step::CwdOutside, Errno::XDEV)),
        Err(errno) => Err(Failure::new(Step::Cwd, errno)),
    }
}

/// Executes the program. Comes back only when that fails, with the reason.
///
/// The kernel is simply asked, path by path, and only when it refuses is it found out why: a look
/// beforehand would cost time in the usual case and prove nothing.
pub(super) fn execute(command: &Command) -> Failure {
    for (n, path) in command.programs.iter().enumerate() {
        let stat = || statat(CWD, path.as_c_str(), AtFlags::empty());
        let is_directory = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
        let errno = match &command.init {
            None => {
                // SAFETY: both are null-terminated arrays of C strings.
                unsafe { sys::execve(path, command.argv.as_ptr(), command.envp.as_ptr()) }
            }
            // The init will only be able to say that it failed, so here a look has to do.
            Some((_, argvs)) => {
                match accessat(CWD, path.as_c_str(), Access::EXEC_OK, AtFlags::EACCESS) {
                    Err(errno) => errno,
                    Ok(()) if stat().is_ok_and(|stat| is_directory(stat.st_mode)) => Errno::ACCESS,
                    Ok(()) => {
                        let argv = argvs.get(n).unwrap_or(&command.argv);
                        // SAFETY: both are null-terminated arrays of C strings.
                        unsafe { sys::execve_fd(INIT, argv.as_ptr(), command.envp.as_ptr()) }
                    }
                }
            }
        };
        let failure = |step| Failure { step, index: n as u32, errno };
        match (errno, stat()) {
            (Errno::NOENT, Ok(_)) => return failure(Step::InterpreterMissing),
            (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS, _) if command.searched => {}
            (Errno::NOENT | Errno::NOTDIR, _) => return failure(Step::ProgramMissing),
            (Errno::ACCESS, Ok(stat)) if is_directory(stat.st_mode) => {
                return failure(Step::ProgramIsDirectory);
            }
            (Errno::ACCESS, _) => return failure(Step::ProgramNotPermitted),
            _ => return failure(Step::Exec),
        }
    }
    Failure::new(Step::ProgramMissing, Errno::NOENT)
}
