//! The few system calls that rustix does not have, as thin as they can be.
//!
//! None of them touches `errno`, allocates or locks: all may be used in the child between clone3(2)
//! and execve(2), which shares this process's memory.

#![expect(unsafe_code, reason = "system calls that no safe wrapper exists for")]

use core::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};
use rustix::mount::MountAttrFlags;

/// A system call, raw. Returns what the kernel does: a value, or `-errno`.
///
/// # Safety
/// As the system call with that number says about its arguments.
#[inline]
unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's calling convention on x86_64: rcx and r11 are lost, the rest is kept;
    // what the call does to memory is the caller's promise.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's calling convention on aarch64: only x0 is changed; what the call does to
    // memory is the caller's promise.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack, preserves_flags)
        );
    }
    result
}

/// The same with the result sorted.
///
/// # Safety
/// As the system call with that number says about its arguments.
#[inline]
unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: passed on.
    let result = unsafe { syscall(number, args) };
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as usize) }
}

/// `struct mount_attr` of mount_setattr(2).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on the mount that `fd` is the root of: adds `attributes` and makes it private,
/// so that nothing mounted on either side appears on the other.
pub(crate) fn seal_mount(fd: impl AsFd, attributes: MountAttrFlags, recursive: bool) -> Result<()> {
    set_mount(fd, attributes, libc::MS_PRIVATE, recursive)
}

/// mount_setattr(2): adds `attributes` and sets the propagation, one of `MS_PRIVATE`, `MS_SLAVE` and
/// `MS_SHARED`.
pub(crate) fn set_mount(
    fd: impl AsFd,
    attributes: MountAttrFlags,
    propagation: u64,
    recursive: bool,
) -> Result<()> {
    let attr = MountAttr { set: u64::from(attributes.bits()), propagation, ..MountAttr::default() };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and `attr` is as long as its size says.
    unsafe {
        call(
            libc::SYS_mount_setattr,
            [
                fd.as_fd().as_raw_fd() as usize,
                c"".as_ptr() as usize,
                flags as usize,
                &raw const attr as usize,
                size_of::<MountAttr>(),
                0,
            ],
        )?;
    }
    Ok(())
}

/// close_range(2): closes every descriptor from `first` to `last`.
///
/// # Safety
/// No value that owns or borrows one of these descriptors may be used, or dropped, afterwards.
pub(crate) unsafe fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: no pointers; about the descriptors the caller promises.
    unsafe { call(libc::SYS_close_range, [first as usize, last as usize, 0, 0, 0, 0])? };
    Ok(())
}

/// dup2(2) by number.
///
/// # Safety
/// Nothing may own `to`, or it must be forgotten: its descriptor is replaced.
pub(crate) unsafe fn dup_onto(from: RawFd, to: RawFd, close_on_exec: bool) -> Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: no pointers; about the descriptors the caller promises.
    unsafe { call(libc::SYS_dup3, [from as usize, to as usize, flags as usize, 0, 0, 0])? };
    Ok(())
}

/// setfsuid(2) and setfsgid(2), for this thread: whose the files are that it makes.
pub(crate) fn set_file_owner(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe {
        call(libc::SYS_setfsgid, [gid as usize, 0, 0, 0, 0, 0])?;
        call(libc::SYS_setfsuid, [uid as usize, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// mount_setattr(2) with `MOUNT_ATTR_IDMAP`: files of the mount that `fd` is the root of belong to the
/// users of the user namespace `namespace` that have the numbers of their owners.
pub(crate) fn map_mount(fd: impl AsFd, namespace: impl AsFd) -> Result<()> {
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: namespace.as_fd().as_raw_fd() as u64,
        ..MountAttr::default()
    };
    // SAFETY: the path is an empty C string and `attr` is as long as its size says.
    unsafe {
        call(
            libc::SYS_mount_setattr,
            [
                fd.as_fd().as_raw_fd() as usize,
                c"".as_ptr() as usize,
                libc::AT_EMPTY_PATH as usize,
                &raw const attr as usize,
                size_of::<MountAttr>(),
                0,
            ],
        )?;
    }
    Ok(())
}

/// setgroups(2), for this thread alone.
pub(crate) fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads as many numbers as the slice has.
    unsafe {
        call(libc::SYS_setgroups, [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// Brings the interface `lo` up, which gives it its addresses, see netdevice(7).
pub(crate) fn bring_loopback_up() -> Result<()> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is a new descriptor.
    let socket = unsafe {
        own(call(libc::SYS_socket, [libc::AF_INET as usize, kind as usize, 0, 0, 0, 0])?)
    };
    // `struct ifreq`: a name of 16 bytes, then here the flags; it is 40 bytes long.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&(libc::IFF_UP as u16).to_ne_bytes());
    // SAFETY: the structure is as long as the kernel's.
    unsafe {
        call(
            libc::SYS_ioctl,
            [
                socket.as_raw_fd() as usize,
                libc::SIOCSIFFLAGS as usize,
                request.as_ptr() as usize,
                0,
                0,
                0,
            ],
        )?;
    }
    Ok(())
}

/// seccomp(2) with `SECCOMP_SET_MODE_FILTER`: filters the calls of this thread from now on.
pub(crate) fn set_seccomp_filter(program: &[libc::sock_filter]) -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions behind `filter` and writes nothing.
    unsafe {
        call(
            libc::SYS_seccomp,
            [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// Joins a new, empty session keyring (`KEYCTL_JOIN_SESSION_KEYRING` of keyctl(2)), so that keys of
/// the caller's session cannot be found.
pub(crate) fn join_new_session_keyring() -> Result<()> {
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe {
        call(libc::SYS_keyctl, [libc::KEYCTL_JOIN_SESSION_KEYRING as usize, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

/// rt_sigaction(2): the default action for `signal`.
pub(crate) fn reset_signal(signal: c_int) -> Result<()> {
    // The kernel's `struct sigaction` is four words (handler, flags, restorer, mask); all zero is
    // the default action, without flags.
    let action = [0u64; 4];
    // SAFETY: `action` is a whole kernel structure, and installs no handler.
    unsafe {
        call(
            libc::SYS_rt_sigaction,
            [signal as usize, &raw const action as usize, 0, size_of::<u64>(), 0, 0],
        )?;
    }
    Ok(())
}

/// Makes sure that the kernel keeps how children ended until they are waited for. It does not when
/// SIGCHLD is ignored, which a program inherits from whoever started it.
pub(crate) fn keep_children() -> Result<()> {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask.
    let mut action = [0u64; 4];
    // SAFETY: the kernel writes one structure of this size.
    unsafe {
        call(
            libc::SYS_rt_sigaction,
            [libc::SIGCHLD as usize, 0, action.as_mut_ptr() as usize, size_of::<u64>(), 0, 0],
        )?;
    }
    if action[0] == libc::SIG_IGN as u64 {
        reset_signal(libc::SIGCHLD)?;
    }
    Ok(())
}

/// rt_sigprocmask(2): blocks exactly the signals in `mask`, bit n - 1 for signal n. Gives those that
/// were blocked before.
pub(crate) fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut before = 0_u64;
    // SAFETY: the kernel reads one word behind the first pointer and writes one behind the second.
    unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            [
                libc::SIG_SETMASK as usize,
                &raw const mask as usize,
                &raw mut before as usize,
                size_of::<u64>(),
                0,
                0,
            ],
        )?;
    }
    Ok(before)
}

/// execve(2). Returns only with an error.
///
/// # Safety
/// `argv` and `envp` must be arrays of pointers to C strings that end with a null pointer.
pub(crate) unsafe fn execve(
    path: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller's promise about the arrays; `path` is a C string.
    let result = unsafe {
        syscall(libc::SYS_execve, [path.as_ptr() as usize, argv as usize, envp as usize, 0, 0, 0])
    };
    Errno::from_raw_os_error(-result as i32)
}

/// execveat(2) of the file behind `fd`. Returns only with an error.
///
/// # Safety
/// `argv` and `envp` must be arrays of pointers to C strings that end with a null pointer.
pub(crate) unsafe fn execve_fd(
    fd: RawFd,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller's promise about the arrays; the path is an empty C string.
    let result = unsafe {
        syscall(
            libc::SYS_execveat,
            [
                fd as usize,
                c"".as_ptr() as usize,
                argv as usize,
                envp as usize,
                libc::AT_EMPTY_PATH as usize,
                0,
            ],
        )
    };
    Errno::from_raw_os_error(-result as i32)
}

/// exit_group(2).
pub(crate) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: no pointers; ends this process, and in a vfork child only this one.
        unsafe { syscall(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Whether the working directory lies inside the root directory: getcwd(2) says `(unreachable)` in
/// front when it does not.
pub(crate) fn cwd_is_inside_root() -> Result<bool> {
    let mut path = [0u8; 4096];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    unsafe { call(libc::SYS_getcwd, [path.as_mut_ptr() as usize, path.len(), 0, 0, 0, 0])? };
    Ok(path[0] == b'/')
}

/// prctl(2) with `PR_SET_PDEATHSIG`.
pub(crate) fn kill_on_parent_death() -> Result<()> {
    // SAFETY: no pointers.
    unsafe {
        call(
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// prctl(2) with `PR_SET_DUMPABLE`: 0 keeps processes without CAP_SYS_PTRACE from looking into this
/// one.
pub(crate) fn set_dumpable(dumpable: usize) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, dumpable, 0, 0, 0, 0])? };
    Ok(())
}

/// prctl(2) with `PR_GET_DUMPABLE`.
pub(crate) fn dumpable() -> usize {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_prctl, [libc::PR_GET_DUMPABLE as usize, 0, 0, 0, 0, 0]) }.unwrap_or(1)
}

/// setns(2): enters the namespaces of kind `kinds` (a mask of `CLONE_NEW*`) that `fd` stands for: a
/// namespace file or a pidfd.
pub(crate) fn enter_namespaces(fd: impl AsFd, kinds: c_int) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: no pointers. Entering a namespace changes what later calls mean, not memory.
    unsafe { call(libc::SYS_setns, [fd as usize, kinds as usize, 0, 0, 0, 0])? };
    Ok(())
}

/// unshare(2) with a mask of `CLONE_NEW*` and `CLONE_FS`.
pub(crate) fn unshare(kinds: c_int) -> Result<()> {
    // SAFETY: no pointers, and none of these flags unshares memory or descriptors.
    unsafe { call(libc::SYS_unshare, [kinds as usize, 0, 0, 0, 0, 0])? };
    Ok(())
}

/// unshare(2) with `CLONE_NEWCGROUP`: the caller's control groups become the root of what it sees.
pub(crate) fn new_cgroup_namespace() -> Result<()> {
    unshare(libc::CLONE_NEWCGROUP)
}

/// bpf(2) with `command` and an attribute of any of its kinds.
///
/// # Safety
/// `attr` must be what `command` expects, with valid pointers inside.
pub(crate) unsafe fn bpf<T>(command: usize, attr: &mut T) -> Result<usize> {
    let attr: *mut T = attr;
    // SAFETY: the size is right; the caller promises the rest.
    unsafe { call(libc::SYS_bpf, [command, attr as usize, size_of::<T>(), 0, 0, 0]) }
}

/// Takes ownership of a descriptor that a system call just returned.
///
/// # Safety
/// `fd` must be open and owned by nobody.
pub(crate) unsafe fn own(fd: usize) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// clone3(2): the child starts in the control group that `cgroup` is a descriptor of.
pub(crate) const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// `struct clone_args` of clone3(2).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(8))]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// Memory for the stack of a child, with a page below it that must not be touched: running out of
/// stack must not change the memory shared with the parent.
#[derive(Debug)]
pub(crate) struct Stack {
    base: *mut c_void,
}

// SAFETY: plain memory, used by one child at a time.
unsafe impl Send for Stack {}

impl Stack {
    const GUARD: usize = 64 << 10; // the largest page size there is
    const SIZE: usize = 256 << 10;

    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the kernel likes, and its first bytes without access.
        unsafe {
            let length = Self::GUARD + Self::SIZE;
            let base = libc::mmap(core::ptr::null_mut(), length, access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            let stack = Self { base };
            if libc::mprotect(base, Self::GUARD, libc::PROT_NONE) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(stack)
        }
    }

    /// Start and length of the usable part.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.base as u64 + Self::GUARD as u64, Self::SIZE as u64)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no child uses it any more.
        unsafe { libc::munmap(self.base, Self::GUARD + Self::SIZE) };
    }
}

/// clone3(2): the child calls `entry(argument)` on the stack in `args` and never returns here.
///
/// Libc's wrapper is not exported, and the plain system call returns twice through the same frame,
/// which the child, sharing the memory, would tear down. So the child branches off right behind the
/// instruction, in registers.
///
/// # Safety
/// The stack in `args` must be valid, unused and aligned to 16 bytes. With `CLONE_VM`,
/// `CLONE_VFORK` must be given as well, all signals must be blocked, and `entry` must neither
/// allocate, lock, unwind, nor touch thread-local storage.
pub(crate) unsafe fn clone3(
    args: &CloneArgs,
    entry: extern "C" fn(*const c_void) -> !,
    argument: *const c_void,
) -> Result<i32> {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the parent sees a plain system call. The child has the new stack, whose top is
    // aligned as the ABI wants it before a call, and its registers; it never leaves `entry`.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") entry,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const *args as isize => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") argument,
            in("x21") entry,
        );
    }
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as i32) }
}
