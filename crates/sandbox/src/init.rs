//! The program between this one and the container's: a tiny init, and a stepping stone.
//!
//! It is a few hundred bytes of machine code without libraries, written here, and lives in a sealed
//! memfd: nothing has to be found on the host or in the image. It does one of two things:
//!
//! As **init** (`--init`) it stays process 1, runs the program as its child, passes signals on to
//! it, reaps orphans, and ends as its child ends.
//!
//! As a **stepping stone** it only executes the program. What matters is who does so: until
//! execve(2) succeeds, `/proc/self/exe` is the executable of whoever calls it. An image whose
//! program is a script with the first line `#!/proc/self/exe` would make the kernel run, inside the
//! container, the host's own `bld` with the image's libraries; and from there that file can be
//! opened and later overwritten (CVE-2019-5736). Through the stepping stone such a link leads to
//! the memfd, which nobody can write to. A program for this very machine needs no stone, and so
//! does not pay the tenth of a millisecond.
//!
//! Its arguments: `init` or `exec`, the path, and the argument vector of the program; called
//! otherwise, as through such a link, it ends at once. Descriptor 3 is where it reports the error number if execve(2) fails; otherwise that closes with it.

#![expect(unsafe_code, reason = "the machine code lies between two symbols")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::plan::Strings;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .rodata.bld_init, \"a\"",
    ".global bld_init_start, bld_init_end",
    "bld_init_start:",
    "mov rbx, [rsp + 8]",            // argv[0]
    "lea r12, [rsp + 16]",           // &argv[1]
    "mov rax, [rsp]",                // argc
    "lea r13, [rsp + 8 * rax + 16]", // envp
    // prctl(PR_SET_NAME, argv[0])
    "mov eax, 157",
    "mov edi, 15",
    "mov rsi, rbx",
    "syscall",
    // fcntl(3, F_SETFD, FD_CLOEXEC)
    "mov eax, 72",
    "mov edi, 3",
    "mov esi, 2",
    "mov edx, 1",
    "syscall",
    "mov edi, 127",
    "cmp byte ptr [rbx], 101", // 'e'
    "je 6f",
    "cmp byte ptr [rbx], 105", // 'i'
    "jne 8f",
    // rt_sigprocmask(SIG_SETMASK, all, 0, 8); the mask stays at rsp
    "sub rsp, 8",
    "push -1",
    "mov eax, 14",
    "mov edi, 2",
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    // clone(SIGCHLD)
    "mov eax, 56",
    "mov edi, 17",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "syscall",
    "test eax, eax",
    "js 7f",
    "jz 5f",
    "mov r14d, eax", // the child
    // close(3)
    "mov eax, 3",
    "mov edi, 3",
    "syscall",
    // rt_sigtimedwait(all, 0, 0, 8)
    "2:",
    "mov eax, 128",
    "mov rdi, rsp",
    "xor esi, esi",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "cmp eax, 17",
    "je 3f",
    "test eax, eax",
    "jle 2b",
    // kill(child, signal)
    "mov esi, eax",
    "mov edi, r14d",
    "mov eax, 62",
    "syscall",
    "jmp 2b",
    // wait4(-1, &status, WNOHANG, 0)
    "3:",
    "mov eax, 61",
    "mov rdi, -1",
    "lea rsi, [rsp + 8]",
    "mov edx, 1",
    "xor r10d, r10d",
    "syscall",
    "test eax, eax",
    "jle 2b",
    "cmp eax, r14d",
    "jne 3b",
    // exit_group(128 + signal, or the exit code)
    "mov eax, [rsp + 8]",
    "mov edi, eax",
    "and edi, 127",
    "jz 4f",
    "add edi, 128",
    "jmp 8f",
    "4:",
    "movzx edi, ah",
    "jmp 8f",
    // The child: setpgid(0, 0), getpid(), ioctl(0, TIOCSPGRP, &pid), as the terminal's signals are
    // meant for the program alone
    "5:",
    "mov eax, 109",
    "xor edi, edi",
    "xor esi, esi",
    "syscall",
    "mov eax, 39",
    "syscall",
    "mov [rsp + 8], eax",
    "mov eax, 16",
    "xor edi, edi",
    "mov esi, 0x5410",
    "lea rdx, [rsp + 8]",
    "syscall",
    // rt_sigprocmask(SIG_SETMASK, none, 0, 8)
    "mov qword ptr [rsp], 0",
    "mov eax, 14",
    "mov edi, 2",
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    // execve(argv[1], &argv[2], envp)
    "6:",
    "mov eax, 59",
    "mov rdi, [r12]",
    "lea rsi, [r12 + 8]",
    "mov rdx, r13",
    "syscall",
    // write(3, &errno, 4)
    "7:",
    "neg eax",
    "push rax",
    "mov eax, 1",
    "mov edi, 3",
    "mov rsi, rsp",
    "mov edx, 4",
    "syscall",
    "mov edi, 127",
    // exit_group(edi)
    "8:",
    "mov eax, 231",
    "syscall",
    "bld_init_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .rodata.bld_init, \"a\"",
    ".balign 4",
    ".global bld_init_start, bld_init_end",
    "bld_init_start:",
    "ldr x19, [sp]",             // argc
    "ldr x20, [sp, #8]",         // argv[0]
    "add x21, sp, #16",          // &argv[1]
    "add x22, x21, x19, lsl #3", // envp
    // prctl(PR_SET_NAME, argv[0])
    "mov x8, #167",
    "mov x0, #15",
    "mov x1, x20",
    "svc #0",
    // fcntl(3, F_SETFD, FD_CLOEXEC)
    "mov x8, #25",
    "mov x0, #3",
    "mov x1, #2",
    "mov x2, #1",
    "svc #0",
    "mov x0, #127",
    "ldrb w9, [x20]",
    "cmp w9, #101", // 'e'
    "b.eq 6f",
    "cmp w9, #105", // 'i'
    "b.ne 8f",
    // rt_sigprocmask(SIG_SETMASK, all, 0, 8); the mask stays at sp
    "sub sp, sp, #16",
    "mov x9, #-1",
    "str x9, [sp]",
    "mov x8, #135",
    "mov x0, #2",
    "mov x1, sp",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    // clone(SIGCHLD)
    "mov x8, #220",
    "mov x0, #17",
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #0",
    "mov x4, #0",
    "svc #0",
    "cmp x0, #0",
    "b.lt 7f",
    "b.eq 5f",
    "mov x23, x0", // the child
    // close(3)
    "mov x8, #57",
    "mov x0, #3",
    "svc #0",
    // rt_sigtimedwait(all, 0, 0, 8)
    "2:",
    "mov x8, #137",
    "mov x0, sp",
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "cmp x0, #17",
    "b.eq 3f",
    "cmp x0, #0",
    "b.le 2b",
    // kill(child, signal)
    "mov x1, x0",
    "mov x0, x23",
    "mov x8, #129",
    "svc #0",
    "b 2b",
    // wait4(-1, &status, WNOHANG, 0)
    "3:",
    "mov x8, #260",
    "mov x0, #-1",
    "add x1, sp, #8",
    "mov x2, #1",
    "mov x3, #0",
    "svc #0",
    "cmp x0, #0",
    "b.le 2b",
    "cmp w0, w23",
    "b.ne 3b",
    // exit_group(128 + signal, or the exit code)
    "ldr w9, [sp, #8]",
    "ands w0, w9, #127",
    "add w0, w0, #128",
    "b.ne 8f",
    "ubfx w0, w9, #8, #8",
    "b 8f",
    // The child: setpgid(0, 0), getpid(), ioctl(0, TIOCSPGRP, &pid), as the terminal's signals are
    // meant for the program alone
    "5:",
    "mov x8, #154",
    "mov x0, #0",
    "mov x1, #0",
    "svc #0",
    "mov x8, #172",
    "svc #0",
    "str w0, [sp, #8]",
    "mov x8, #29",
    "mov x0, #0",
    "mov x1, #0x5410",
    "add x2, sp, #8",
    "svc #0",
    // rt_sigprocmask(SIG_SETMASK, none, 0, 8)
    "str xzr, [sp]",
    "mov x8, #135",
    "mov x0, #2",
    "mov x1, sp",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    // execve(argv[1], &argv[2], envp)
    "6:",
    "mov x8, #221",
    "ldr x0, [x21]",
    "add x1, x21, #8",
    "mov x2, x22",
    "svc #0",
    // write(3, &errno, 4)
    "7:",
    "neg w0, w0",
    "str w0, [sp, #-16]!",
    "mov x8, #64",
    "mov x0, #3",
    "mov x1, sp",
    "mov x2, #4",
    "svc #0",
    "mov x0, #127",
    // exit_group(x0)
    "8:",
    "mov x8, #94",
    "svc #0",
    "bld_init_end:",
    ".popsection",
);

unsafe extern "C" {
    static bld_init_start: u8;
    static bld_init_end: u8;
}

/// The machine code.
fn code() -> &'static [u8] {
    // SAFETY: both symbols are defined above, in this order, around constant bytes.
    unsafe {
        let start = &raw const bld_init_start;
        let end = &raw const bld_init_end;
        core::slice::from_raw_parts(start, end.offset_from_unsigned(start))
    }
}

/// This machine in the header of an ELF file.
#[cfg(target_arch = "x86_64")]
pub(crate) const MACHINE: u16 = 62;
/// This machine in the header of an ELF file.
#[cfg(target_arch = "aarch64")]
pub(crate) const MACHINE: u16 = 183;

/// A whole executable, see elf(5): one segment, which holds the headers and the code.
fn image() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + code().len() as u64;

    let mut image = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |image: &mut Vec<u8>, n: u16| image.extend(n.to_le_bytes());
    let word = |image: &mut Vec<u8>, n: u32| image.extend(n.to_le_bytes());
    let long = |image: &mut Vec<u8>, n: u64| image.extend(n.to_le_bytes());
    half(&mut image, 2); // executable
    half(&mut image, MACHINE);
    word(&mut image, 1); // version
    long(&mut image, BASE + HEADERS); // entry point
    long(&mut image, 64); // offset of the program header
    long(&mut image, 0); // no section headers
    word(&mut image, 0); // flags
    for n in [64, 56, 1, 64, 0, 0] {
        half(&mut image, n); // sizes and numbers of headers
    }
    word(&mut image, 1); // PT_LOAD
    word(&mut image, 5); // readable and executable
    for n in [0, BASE, BASE, length, length, 0x1_0000] {
        long(&mut image, n); // offset, addresses, sizes, alignment
    }
    image.extend(code());
    image
}

/// The program in memory, made once.
pub(crate) fn file() -> io::Result<BorrowedFd<'static>> {
    use std::os::fd::AsFd;
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file.as_fd());
    }
    let file = make()?;
    Ok(FILE.get_or_init(|| file).as_fd())
}

fn make() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since Linux 6.3 a memfd may be executed only when it says so, or when the system is lenient;
    // before, the flag was unknown.
    let fd = match memfd_create(c"bld-init", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => memfd_create(c"bld-init", flags),
        result => result,
    }?;
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, &image())?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// What the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    SteppingStone,
}

/// Its argument vector for executing `path` with `args`.
pub(crate) fn arguments(role: Role, path: &Arc<CStr>, args: &[Arc<CStr>]) -> Strings {
    let name = if role == Role::Init { c"init" } else { c"exec" };
    let mut all = vec![Arc::from(name), Arc::clone(path)];
    all.extend(args.iter().cloned());
    Strings::new(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_cannot_be_changed() {
        let file = file().unwrap();
        assert!(rustix::io::pwrite(file, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(file, 0).is_err());
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let writable = std::fs::OpenOptions::new().write(true).open(again);
        assert!(writable.is_ok_and(|mut f| io::Write::write(&mut f, b"x").is_err()));
    }

    #[test]
    fn it_is_small() {
        assert!(image().len() < 1024, "{}", image().len());
        assert_eq!(image()[120..], *code());
    }
}
