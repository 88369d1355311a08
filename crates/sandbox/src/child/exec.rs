//! Standard streams, the working directory, and the program itself.

#![expect(unsafe_code, reason = "descriptors are moved by number, and execve(2) takes pointers")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, accessat, openat2, statat,
};
use rustix::io::{Errno, FdFlags, Result as SysResult, fcntl_dupfd_cloexec};

use super::report::{At, Failure, HANDED_OVER, Step};
use super::{PARENT, REPORT, SECOND};
use crate::init::MACHINE;
use crate::plan::{By, Command, Plan, Program};
use crate::sys;

/// Connects the standard streams and closes every other descriptor but those this module needs
/// until the end, which close by themselves then.
pub(super) fn connect(
    plan: &Plan,
    null: Option<OwnedFd>,
    report: &mut RawFd,
) -> Result<(), Failure> {
    // Out of the way of the numbers they are going to have: any of them may be below 6 now.
    let aside = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, SECOND + 1).at(Step::Stdio);
    let streams = match (&plan.stdio, &null) {
        (Some([stdin, stdout, stderr]), _) => {
            [aside(stdin.as_fd())?, aside(stdout.as_fd())?, aside(stderr.as_fd())?]
        }
        (None, Some(null)) => [aside(null.as_fd())?, aside(null.as_fd())?, aside(null.as_fd())?],
        // In a container that exists, its /dev/null may be anything by now.
        (None, None) => return Err(Failure::new(Step::Stdio, Errno::BADF)),
    };
    // SAFETY: the parent keeps the pipe open until this child is launched.
    let pipe = aside(unsafe { BorrowedFd::borrow_raw(plan.report) })?;
    // SAFETY: the descriptor of the calling process stays open for as long as that lives.
    let parent = plan.parent.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    let parent = parent.map(aside).transpose()?;
    // SAFETY: the second program stays open for as long as the parent lives.
    let second = aside(unsafe { BorrowedFd::borrow_raw(plan.command.second) })?;

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
        // SAFETY: as above.
        unsafe { sys::dup_onto(second.as_raw_fd(), SECOND, true) }
    };
    moves().at(Step::Stdio)?;
    core::mem::forget((streams, pipe, parent, second, null));
    let closed = |first, last| {
        // SAFETY: every value above that owned a descriptor is forgotten, and the plan's are the
        // parent's: closing them here closes them only in this process's table.
        unsafe { sys::close_range(first, last) }.at(Step::Descriptors)
    };
    if plan.parent.is_none() {
        closed(PARENT, PARENT)?;
    }
    closed(SECOND + 1, RawFd::MAX)?;
    if plan.terminal {
        // SAFETY: standard input was connected just now.
        let stdin = unsafe { BorrowedFd::borrow_raw(0) };
        rustix::process::ioctl_tiocsctty(stdin).at(Step::Terminal)?;
    }
    Ok(())
}

/// Enters the working directory and makes sure that it is inside.
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
    for (n, program) in command.programs.iter().enumerate() {
        let path = &*program.path;
        let errno = if command.by == By::Child && is_native_binary(path) {
            // SAFETY: both are null-terminated arrays of C strings.
            unsafe { sys::execve(path, command.argv.as_ptr(), command.envp.as_ptr()) }
        } else {
            match foresee(path) {
                Ok(()) => return hand_over(program, command),
                Err(errno) => errno,
            }
        };
        let failure = |step| Failure { step, index: n as u32, errno };
        match (errno, statat(CWD, path, AtFlags::empty())) {
            (Errno::NOENT, Ok(_)) => return failure(Step::InterpreterMissing),
            (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS, _) if command.searched => {}
            (Errno::NOENT | Errno::NOTDIR, _) => return failure(Step::ProgramMissing),
            (Errno::ACCESS, Ok(stat)) if is_directory(&stat) => {
                return failure(Step::ProgramIsDirectory);
            }
            (Errno::ACCESS, _) => return failure(Step::ProgramNotPermitted),
            _ => return failure(Step::Exec),
        }
    }
    Failure::new(Step::ProgramMissing, Errno::NOENT)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether a file is an ELF executable for this machine, and no link of the kernel's to something
/// outside. For nothing else does the kernel take a path from the image and execute what it finds
/// there: a script names its interpreter, and one for foreign programs may be registered by name
/// (binfmt_misc). Either could be `/proc/self/exe`, which is the host's executable here.
fn is_native_binary(path: &CStr) -> bool {
    // A pipe in its place must not make this wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut header = [0; 20];
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .and_then(|file| rustix::io::read(file, &mut header))
        .is_ok_and(|n| {
            n == header.len()
                && header.starts_with(b"\x7fELF")
                && header.ends_with(&MACHINE.to_le_bytes())
        })
}

/// What execve(2) would say to a path, as far as that can be known beforehand.
fn foresee(path: &CStr) -> SysResult<()> {
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    let stat = statat(CWD, path, AtFlags::empty())?;
    if is_directory(&stat) { Err(Errno::ACCESS) } else { Ok(()) }
}

/// Lets the second program execute this one. Comes back only when that itself cannot be executed.
fn hand_over(program: &Program, command: &Command) -> Failure {
    // SAFETY: the pipe is there since the streams were connected.
    let pipe = unsafe { BorrowedFd::borrow_raw(REPORT) };
    // The parent learns that more may come after this process's memory is its own, and the pipe
    // stays open over the first of two executions.
    let told = rustix::io::write(pipe, &[HANDED_OVER])
        .and_then(|_| rustix::io::fcntl_setfd(pipe, FdFlags::empty()));
    let errno = told.err().unwrap_or_else(|| {
        // SAFETY: both are null-terminated arrays of C strings.
        unsafe { sys::execve_fd(SECOND, program.second_argv.as_ptr(), command.envp.as_ptr()) }
    });
    Failure::new(Step::HandOver, errno)
}
