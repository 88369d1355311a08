//! Giving up rights. The order matters throughout: each right is needed to give up the next.

#![expect(unsafe_code, reason = "descriptors are known by number only")]

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, Result as SysResult};
use rustix::process::{Gid, Pid, Resource as KernelResource, Rlimit as KernelRlimit, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_res_gid,
    set_thread_res_uid,
};

use super::report::{At, Failure, Step};
use crate::plan::Plan;
use crate::spec::{Resource, Rlimit};
use crate::sys;

/// Makes the kernel kill this process when the thread that made it ends, and checks that the whole
/// process has not ended before.
pub(super) fn die_with_parent(parent: RawFd) -> Result<(), Failure> {
    sys::kill_on_parent_death().at(Step::DieWithParent)?;
    // getppid(2) is of no help: seen from a new PID namespace, the parent is always 0.
    // SAFETY: the descriptor is open in the child for as long as this is called.
    let parent = unsafe { BorrowedFd::borrow_raw(parent) };
    let mut ended = [PollFd::from_borrowed_fd(parent, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut ended, Some(&now)) {
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => sys::exit(1),
        Err(errno) => Err(Failure::new(Step::DieWithParent, errno)),
    }
}

/// Sets resource limits and the OOM score, while root still can.
pub(super) fn set_limits(plan: &Plan) -> Result<(), Failure> {
    if let Some(score) = &plan.oom_score_adj {
        openat(CWD, c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(file, score.as_bytes()))
            .at(Step::OomScore)?;
    }
    for (n, limit) in plan.rlimits.iter().enumerate() {
        set_limit(*limit).at_index(Step::Rlimit, n)?;
    }
    Ok(())
}

fn set_limit(limit: Rlimit) -> SysResult<()> {
    let resource = kernel_resource(limit.resource);
    let value = |v: u64| Some(v).filter(|v| *v != u64::MAX);
    let wanted = KernelRlimit { current: value(limit.soft), maximum: value(limit.hard) };
    match rustix::process::setrlimit(resource, wanted) {
        Err(Errno::PERM) => {
            // Without CAP_SYS_RESOURCE the ceiling cannot be raised.
            let ceiling = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let clamped = KernelRlimit {
                current: value(limit.soft.min(ceiling)),
                maximum: value(limit.hard.min(ceiling)),
            };
            rustix::process::setrlimit(resource, clamped)
        }
        result => result,
    }
}

fn kernel_resource(resource: Resource) -> KernelResource {
    match resource {
        Resource::Cpu => KernelResource::Cpu,
        Resource::Fsize => KernelResource::Fsize,
        Resource::Data => KernelResource::Data,
        Resource::Stack => KernelResource::Stack,
        Resource::Core => KernelResource::Core,
        Resource::Rss => KernelResource::Rss,
        Resource::Nproc => KernelResource::Nproc,
        Resource::Nofile => KernelResource::Nofile,
        Resource::Memlock => KernelResource::Memlock,
        Resource::As => KernelResource::As,
        Resource::Locks => KernelResource::Locks,
        Resource::Sigpending => KernelResource::Sigpending,
        Resource::Msgqueue => KernelResource::Msgqueue,
        Resource::Nice => KernelResource::Nice,
        Resource::Rtprio => KernelResource::Rtprio,
        Resource::Rttime => KernelResource::Rttime,
    }
}

/// Changes to the user and leaves only the capabilities it is given, see capabilities(7).
pub(super) fn drop_rights(plan: &Plan) -> Result<(), Failure> {
    // What is not in the bounding set, no program gives back: neither root's nor one with file
    // capabilities. Numbers the kernel does not know end it.
    for n in 0..64 {
        if plan.capabilities >> n & 1 == 0 {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << n)) {
                Err(Errno::INVAL) => break,
                result => result.at(Step::Bounding)?,
            }
        }
    }

    // rustix's `thread` calls are the kernel's own, for this thread alone; those of the C library
    // would go looking for the parent's other threads.
    let gid = Gid::from_raw(plan.user.gid);
    if plan.sets_groups {
        sys::set_groups(&plan.user.groups).at(Step::Groups)?;
    }
    set_thread_res_gid(gid, gid, gid).at(Step::Groups)?;

    // Installing a filter needs CAP_SYS_ADMIN, unless no new privileges can be had anyway.
    if !plan.no_new_privileges
        && let Some(filter) = &plan.seccomp
    {
        sys::set_seccomp_filter(filter).at(Step::Seccomp)?;
    }

    let uid = Uid::from_raw(plan.user.uid);
    set_thread_res_uid(uid, uid, uid).at(Step::User)?;
    let root = plan.user.uid == 0;
    let left = CapabilitySet::from_bits_retain(if root { plan.capabilities } else { 0 });
    let sets = CapabilitySets {
        effective: left,
        permitted: left,
        // An inheritable set lets programs with file capabilities have more than meant.
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None::<Pid>, sets).at(Step::Capabilities)?;
    clear_ambient_capability_set().at(Step::Capabilities)?;

    if plan.no_new_privileges {
        set_no_new_privs(true).at(Step::NoNewPrivileges)?;
        if let Some(filter) = &plan.seccomp {
            sys::set_seccomp_filter(filter).at(Step::Seccomp)?;
        }
    }
    Ok(())
}
