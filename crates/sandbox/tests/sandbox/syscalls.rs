//! The system call filter, asked from inside.
//!
//! These tests run themselves in a container, on the host's files.

#![expect(unsafe_code, reason = "the system calls under test have no safe wrappers")]

use bld_sandbox::{Capabilities, Seccomp};

use crate::common::{probe, probing};

/// The error number of a system call, 0 for success.
fn errno(number: i64, args: [i64; 4]) -> i32 {
    // SAFETY: the calls below are given no pointers but null, and most are refused anyway.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

#[test]
fn inside() {
    if !probing() {
        return;
    }
    let namespaces = i64::from(libc::CLONE_NEWUSER);
    let calls = [
        ("add_key", errno(libc::SYS_add_key, [0; 4])),
        ("keyctl", errno(libc::SYS_keyctl, [0; 4])),
        ("mount", errno(libc::SYS_mount, [0; 4])),
        ("fsopen", errno(libc::SYS_fsopen, [0; 4])),
        ("unshare user", errno(libc::SYS_unshare, [namespaces, 0, 0, 0])),
        ("clone user", errno(libc::SYS_clone, [namespaces | 0x11, 0, 0, 0])),
        ("clone3", errno(libc::SYS_clone3, [0; 4])),
        ("setns", errno(libc::SYS_setns, [-1, 0, 0, 0])),
        ("bpf", errno(libc::SYS_bpf, [0; 4])),
        ("perf", errno(libc::SYS_perf_event_open, [0, 0, -1, -1])),
        ("kexec", errno(libc::SYS_kexec_load, [0; 4])),
        ("userfaultfd", errno(libc::SYS_userfaultfd, [0; 4])),
        ("io_uring", errno(libc::SYS_io_uring_setup, [0; 4])),
        ("module", errno(libc::SYS_init_module, [0; 4])),
        ("reboot", errno(libc::SYS_reboot, [0; 4])),
        ("vsock", errno(libc::SYS_socket, [40, 1, 0, 0])),
        ("inet", errno(libc::SYS_socket, [2, 1, 0, 0])),
        ("personality", errno(libc::SYS_personality, [0x40_0000, 0, 0, 0])),
        ("personality?", errno(libc::SYS_personality, [0xffff_ffff, 0, 0, 0])),
        ("unknown", errno(600, [0; 4])),
        ("getpid", errno(libc::SYS_getpid, [0; 4])),
    ];
    for (name, errno) in calls {
        println!("{name}: {errno}");
    }
    #[cfg(target_arch = "x86_64")]
    for (name, number) in [("i386 getpid", 20), ("i386 mount", 21), ("i386 unshare", 310)] {
        let result: i32;
        // SAFETY: the 32-bit entry; without pointers. It changes rax, and r8 to r11 on old kernels.
        unsafe {
            core::arch::asm!(
                "xchg rbx, {arg}", "int 0x80", "xchg rbx, {arg}",
                arg = inout(reg) i64::from(libc::CLONE_NEWUSER) => _,
                inlateout("eax") number => result,
                in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        println!("{name}: {}", if result < 0 { -result } else { 0 });
    }
    #[cfg(target_arch = "x86_64")]
    println!("x32: {}", errno(0x4000_0000 | 0x27, [0; 4]));
}

/// What `inside` said about a call.
fn said<'a>(output: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    let line = output.lines().find_map(|line| line.split_once(&start));
    line.unwrap_or_else(|| panic!("nothing about {name}\n{output}")).1
}

#[test]
fn the_default_profile() {
    let output = probe("syscalls::inside", |_| {}).ok();
    for name in [
        "add_key",
        "keyctl",
        "mount",
        "fsopen",
        "unshare user",
        "clone user",
        "setns",
        "bpf",
        "perf",
        "kexec",
        "userfaultfd",
        "io_uring",
        "module",
        "reboot",
        "vsock",
        "personality",
    ] {
        assert_eq!(said(&output, name), libc::EPERM.to_string(), "{name}");
    }
    for name in ["clone3", "unknown"] {
        assert_eq!(said(&output, name), libc::ENOSYS.to_string(), "{name}");
    }
    for name in ["getpid", "inet", "personality?"] {
        assert_eq!(said(&output, name), "0", "{name}");
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(said(&output, "i386 getpid"), "0");
        assert_eq!(said(&output, "i386 mount"), libc::EPERM.to_string());
        assert_eq!(said(&output, "i386 unshare"), libc::EPERM.to_string());
        assert_eq!(said(&output, "x32"), libc::ENOSYS.to_string());
    }
}

#[test]
fn capabilities_open_it() {
    let output = probe("syscalls::inside", |spec| {
        spec.capabilities = Capabilities::docker().add(Capabilities::parse("SYS_ADMIN").unwrap());
    })
    .ok();
    // The kernel's own opinion about senseless arguments.
    for name in ["mount", "fsopen"] {
        assert_eq!(said(&output, name), libc::EFAULT.to_string(), "{name}");
    }
    // Not for a process with threads.
    assert_eq!(said(&output, "unshare user"), libc::EINVAL.to_string());
    assert_eq!(said(&output, "setns"), libc::EBADF.to_string());
    assert_eq!(said(&output, "add_key"), libc::EPERM.to_string());
}

#[test]
fn unconfined() {
    let output = probe("syscalls::inside", |spec| spec.seccomp = Seccomp::Unconfined).ok();
    assert_ne!(said(&output, "add_key"), libc::EPERM.to_string());
    assert_eq!(said(&output, "mount"), libc::EFAULT.to_string());
}

#[test]
fn it_holds_with_and_without_new_privileges_and_for_users() {
    for no_new_privileges in [false, true] {
        for uid in [0, 1000] {
            let output = probe("syscalls::inside", |spec| {
                spec.no_new_privileges = no_new_privileges;
                spec.user.uid = uid;
            });
            // The caller's build directory may be closed to others.
            if uid == 0 || output.status.success() {
                assert_eq!(said(&output.ok(), "add_key"), libc::EPERM.to_string());
            }
        }
    }
}
