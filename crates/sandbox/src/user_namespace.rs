//! The user namespace in which an ordinary user is root, see user_namespaces(7).
//!
//! All processes of a store have to be in the same one, or none could look after another's
//! containers. So it is kept by a process that does nothing else, the *keeper*, which has a network
//! namespace besides: there, root may make bridges and change the firewall.

#![expect(unsafe_code, reason = "fork(2)")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Pid, Uid, WaitOptions, waitpid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use crate::ids::Shift;
use crate::sys;

/// Makes a keeper; its process number.
///
/// `give_ids` is called with that number, in the calling process, to write the namespace's maps of
/// ids. Then the keeper does `stay`, with no descriptor open but the standard streams, which lead
/// nowhere, and ends when that returns. It is in a session of its own.
///
/// # Errors
/// The caller has more than one thread, the kernel allows no user namespaces, or what `give_ids` said.
pub fn keep(give_ids: impl FnOnce(i32) -> io::Result<()>, stay: impl FnOnce()) -> io::Result<i32> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("there are other threads already"));
    }
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (answers, answer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: there is one thread, so nothing in the child's copy of memory is half done.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop((tell, answers));
            keeper(told, answer, stay)
        }
        pid => {
            drop((told, answer));
            let (mut tell, mut answers) = (File::from(tell), File::from(answers));
            // The numbers of errors, 0 for none: of making the namespaces, then of what follows.
            let mut ready = || -> io::Result<()> {
                let mut errno = [0; 4];
                answers.read_exact(&mut errno)?;
                match i32::from_ne_bytes(errno) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                }
            };
            ready()?;
            give_ids(pid)?;
            tell.write_all(b"!")?;
            ready()?;
            Ok(pid)
        }
    }
}

/// What the keeper does.
fn keeper(told: OwnedFd, answer: OwnedFd, stay: impl FnOnce()) -> ! {
    let (mut told, mut answer) = (File::from(told), File::from(answer));
    say(&mut answer, sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET));
    // Whoever could not give it ids has no use for it.
    if told.read_exact(&mut [0]).is_err() {
        sys::exit(1)
    }
    // Whatever else is open is the caller's, locks among it, and must not stay open here. Who owns it
    // is not used again: this process never returns to it.
    std::mem::forget(told);
    // What it is called by ps(1) is no reason for it to end.
    let _named = rustix::thread::set_name(c"bld-keeper");
    let settled = become_root()
        .and_then(|()| sys::bring_loopback_up())
        .and_then(|()| rustix::process::setsid().map(drop))
        .and_then(|()| rustix::process::chdir(c"/"))
        .and_then(|()| streams_to_nowhere())
        .and_then(|()| close_but(answer.as_raw_fd()));
    say(&mut answer, settled);
    drop(answer);
    stay();
    sys::exit(0)
}

/// Tells the caller how something went; ends when it did not go well, or nobody is there.
fn say(answer: &mut File, done: rustix::io::Result<()>) {
    let errno = done.err().map_or(0, rustix::io::Errno::raw_os_error);
    if answer.write_all(&errno.to_ne_bytes()).is_err() || errno != 0 {
        sys::exit(1)
    }
}

fn streams_to_nowhere() -> rustix::io::Result<()> {
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: no value owns the standard streams.
    (0..3).try_for_each(|stream| unsafe { sys::dup_onto(null.as_raw_fd(), stream, false) })
}

/// Closes all descriptors but the standard streams and `kept`.
fn close_but(kept: RawFd) -> rustix::io::Result<()> {
    // SAFETY: see the caller: no owner of what is closed is used or dropped afterwards.
    unsafe {
        if kept > 3 {
            sys::close_range(3, kept - 1)?;
        }
        sys::close_range(kept + 1, RawFd::MAX)
    }
}

/// A user namespace with certain ids, in which no process is: for mounts whose files are those users'.
pub(crate) fn of_ids(shift: Shift) -> io::Result<OwnedFd> {
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (answers, answer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls and nothing else.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Or it would not hear that the caller has died.
            drop(tell);
            let made = sys::unshare(libc::CLONE_NEWUSER).is_ok();
            let _said = rustix::io::write(&answer, &[u8::from(made)]);
            let _told = rustix::io::read(&told, &mut [0]);
            sys::exit(0)
        }
        pid => {
            drop(answer);
            let mut made = [0];
            let outcome = File::from(answers).read_exact(&mut made).and_then(|()| {
                if made == [0] {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                give(pid, shift)?;
                Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
            });
            File::from(tell).write_all(b"!")?;
            if let Some(pid) = Pid::from_raw(pid) {
                waitpid(Some(pid), WaitOptions::empty())?;
            }
            outcome
        }
    }
}

/// Gives the user namespace of the process `pid` its ids, as root can.
pub(crate) fn give(pid: i32, shift: Shift) -> io::Result<()> {
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), shift.line())?;
    }
    Ok(())
}

/// Enters the user namespace of the process `keeper`, as root there, and a mount namespace of its own.
///
/// # Errors
/// The caller has more than one thread, or it is another user's.
pub fn enter(keeper: i32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{keeper}/ns/user"))?;
    sys::enter_namespaces(&namespace, libc::CLONE_NEWUSER)?;
    become_root()?;
    Ok(sys::unshare(libc::CLONE_NEWNS)?)
}

/// Becomes root of the user namespace that this process is in.
pub(crate) fn become_root() -> rustix::io::Result<()> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}
