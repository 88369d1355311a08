//! What happens between clone3(2) and execve(2).
//!
//! The child shares its parent's memory (`CLONE_VM`), because copying the page tables of a process
//! that has read 200 MB takes 12 ms, thirty times as long as everything else it does. So it may
//! only make system calls and look at what was prepared in the [`Plan`]: no allocation, no lock, no
//! panic, no thread-local storage. rustix serves here because it calls the kernel directly and is
//! given C strings only. Descriptors it opens are its own: the table of open files is a copy.

mod exec;
mod mounts;
mod report;
mod restrict;

pub(crate) use report::{Failure, Step, read as read_report};

use core::convert::Infallible;
use core::ffi::c_void;
use std::os::fd::RawFd;

use rustix::io::Errno;

use self::report::At;
use crate::plan::{Build, Entry, Plan};
use crate::sys;
use crate::user_namespace::become_root;

/// Descriptors that are left when all others are closed, besides the standard streams.
const REPORT: RawFd = 3;
const PARENT: RawFd = 4;
const SECOND: RawFd = 5;

/// The entry point for [`sys::clone3`]; `plan` must point to a [`Plan`].
pub(crate) extern "C" fn main(plan: *const c_void) -> ! {
    #[expect(unsafe_code, reason = "the argument comes through the system call")]
    // SAFETY: the parent gives a plan and is suspended until the child is gone (`CLONE_VFORK`).
    let plan = unsafe { &*plan.cast::<Plan>() };
    let mut report = plan.report;
    let Err(failure) = run(plan, &mut report);
    let bytes = failure.to_bytes();
    #[expect(unsafe_code, reason = "the number of the pipe changes on the way")]
    // SAFETY: `report` is the open pipe, in the plan or as `REPORT`.
    let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(report) };
    // Nobody to tell when this fails: the parent sees an end without a word.
    let _ = rustix::io::write(pipe, &bytes);
    sys::exit(1)
}

fn run(plan: &Plan, report: &mut RawFd) -> Result<Infallible, Failure> {
    if let Some((born, told)) = &plan.birth {
        let mut given = [0];
        let heard = rustix::io::write(born, b"!")
            .and_then(|_| rustix::io::read(told, &mut given))
            .and_then(|_| if given == [1] { Ok(()) } else { Err(Errno::PERM) });
        heard.and_then(|()| become_root()).at(Step::UserNamespace)?;
    }
    if let Some(parent) = plan.parent {
        restrict::die_with_parent(parent)?;
    }
    for signal in 1..=64 {
        // Rust ignores SIGPIPE, and what is ignored stays so across execve(2). KILL and STOP cannot
        // be set, and need not.
        let _ = sys::reset_signal(signal);
    }
    for door in &plan.doors {
        rustix::io::write(door, b"0").at(Step::JoinCgroup)?;
    }
    rustix::process::setsid().at(Step::Session)?;
    // A kernel without keyrings, or none left, is no reason to fail.
    let _ = sys::join_new_session_keyring();

    let null = match &plan.entry {
        Entry::Build(build) => Some(enter_new(build)?),
        Entry::Join(container) => {
            let kinds = libc::CLONE_NEWNS
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWCGROUP
                | if plan.joins_users { libc::CLONE_NEWUSER } else { 0 };
            sys::enter_namespaces(container, kinds).at(Step::EnterContainer)?;
            None
        }
    };

    let mask = rustix::fs::Mode::from_raw_mode(0o022);
    rustix::process::umask(mask);
    exec::connect(plan, null, report)?;
    // Only now: a low limit of open files counts the caller's descriptors until they are closed.
    restrict::set_limits(plan)?;
    // Like runc: a directory that is closed to the user is still where the user begins, and one that
    // is closed to root (on a network filesystem, say) may be open to the user.
    let entered = match exec::enter_cwd(plan) {
        Err(Failure { errno: Errno::ACCESS | Errno::PERM, .. }) => false,
        result => result.map(|()| true)?,
    };
    restrict::drop_rights(plan)?;
    if plan.parent.is_some() {
        // Changing the user has cleared it.
        restrict::die_with_parent(PARENT)?;
    }
    if !entered {
        exec::enter_cwd(plan)?;
    }
    sys::set_signal_mask(0).at(Step::Signals)?;
    Err(exec::execute(&plan.command))
}

/// Makes the container's namespaces and mounts and enters them. Gives its `/dev/null`.
fn enter_new(build: &Build) -> Result<std::os::fd::OwnedFd, Failure> {
    // Not with clone3(2): the namespace's root is where its maker is, and only now is that the
    // container's own group.
    sys::new_cgroup_namespace().at(Step::CgroupNamespace)?;
    if let Some(network) = &build.network {
        sys::enter_namespaces(network, libc::CLONE_NEWNET).at(Step::NetworkNamespace)?;
    }
    if let Some(donor) = &build.ipc {
        sys::enter_namespaces(donor, libc::CLONE_NEWIPC).at(Step::IpcNamespace)?;
    }
    if build.loopback {
        sys::bring_loopback_up().at(Step::Loopback)?;
    }
    if let Some(name) = &build.hostname {
        rustix::system::sethostname(name.as_bytes()).at(Step::Hostname)?;
    }
    mounts::attach_all(build)
}
