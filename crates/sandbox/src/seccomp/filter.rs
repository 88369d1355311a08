//! Compiling the table into classic BPF, see `Documentation/userspace-api/seccomp_filter.rst`.

use std::collections::BTreeMap;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter};

use super::table::{ALLOWED, Allow, NAMESPACE_FLAGS, NO, PERSONALITIES, Row, SOCKET_FAMILIES};
use crate::capabilities::Capabilities;

/// An architecture as `AUDIT_ARCH_*` names it, and its column in the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abi {
    pub(super) audit: u32,
    pub(super) column: usize,
}

/// The ABIs of a 64-bit kernel: its own and that of 32-bit programs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine([Abi; 2]);

impl Machine {
    /// The ABI of programs that are made for it.
    pub(super) const fn own(&self) -> Abi {
        self.0[0]
    }
}

#[cfg(any(target_arch = "x86_64", test))]
const X86_64: Machine =
    Machine([Abi { audit: 0xc000_003e, column: 0 }, Abi { audit: 0x4000_0003, column: 1 }]);
#[cfg(any(target_arch = "aarch64", test))]
const AARCH64: Machine =
    Machine([Abi { audit: 0xc000_00b7, column: 2 }, Abi { audit: 0x4000_0028, column: 3 }]);

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: Machine = X86_64;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: Machine = AARCH64;

/// Numbers from here on are arm's private calls, far above all others.
const ARM_PRIVATE: u32 = 0xf_0000;

// Offsets in `struct seccomp_data`; both machines are little-endian, so the low half of an argument
// comes first. The kernel looks at no more than that half of the arguments that are compared here.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
const ARGUMENT_0: u32 = 16;

const EPERM: u32 = SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

pub(super) const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
/// Loads a word of `struct seccomp_data`.
pub(super) const fn load(offset: u32) -> sock_filter {
    insn(0x20, 0, 0, offset)
}
/// Ends with this verdict.
pub(super) const fn verdict(value: u32) -> sock_filter {
    insn(0x06, 0, 0, value)
}
/// Skips `count` instructions when the word equals `k`.
const fn skip_if_equal(k: u32, count: u8) -> sock_filter {
    insn(0x15, count, 0, k)
}
const fn and(k: u32) -> sock_filter {
    insn(0x54, 0, 0, k)
}

/// What happens with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Verdict(u32),
    /// Allowed when argument 0 has none of these bits.
    WithoutBits(u32),
    Personality,
    Socket,
}

impl Fate {
    fn of(allow: Allow, capabilities: Capabilities) -> Option<Self> {
        let admin = capabilities.bits() & super::table::SYS_ADMIN != 0;
        Some(match allow {
            Allow::Always => Self::Verdict(SECCOMP_RET_ALLOW),
            Allow::With(any) if capabilities.bits() & any != 0 => Self::Verdict(SECCOMP_RET_ALLOW),
            Allow::With(_) => return None,
            Allow::SameNamespaces | Allow::Clone3 if admin => Self::Verdict(SECCOMP_RET_ALLOW),
            Allow::SameNamespaces => Self::WithoutBits(NAMESPACE_FLAGS),
            Allow::Clone3 => Self::Verdict(ENOSYS),
            Allow::Personality => Self::Personality,
            Allow::Socket => Self::Socket,
        })
    }

    fn code(self) -> Vec<sock_filter> {
        match self {
            Self::Verdict(value) => vec![verdict(value)],
            Self::WithoutBits(bits) => vec![
                load(ARGUMENT_0),
                and(bits),
                skip_if_equal(0, 1),
                verdict(EPERM),
                verdict(SECCOMP_RET_ALLOW),
            ],
            Self::Personality => {
                let mut code = vec![load(ARGUMENT_0)];
                for (n, value) in PERSONALITIES.iter().enumerate() {
                    // Over the other comparisons and the refusal.
                    code.push(skip_if_equal(*value, (PERSONALITIES.len() - n) as u8));
                }
                code.extend([verdict(EPERM), verdict(SECCOMP_RET_ALLOW)]);
                code
            }
            Self::Socket => {
                let mut families = BTreeMap::from([(0, Self::Verdict(EPERM))]);
                for (first, last) in SOCKET_FAMILIES {
                    families.insert(first, Self::Verdict(SECCOMP_RET_ALLOW));
                    families.insert(last + 1, Self::Verdict(EPERM));
                }
                let mut code = vec![load(ARGUMENT_0)];
                code.extend(search(&families.into_iter().collect::<Vec<_>>()));
                code
            }
        }
    }
}

/// The filter for containers with these capabilities on this machine.
pub(super) fn compile(machine: &Machine, capabilities: Capabilities) -> Vec<sock_filter> {
    let [own, compat] = machine.0.map(|abi| {
        let mut code = vec![load(NUMBER)];
        code.extend(search(&fates(abi, capabilities)));
        code
    });
    let mut code = vec![load(ARCHITECTURE)];
    code.extend(unless_equal(machine.0[0].audit, own.len()));
    code.extend(own);
    code.extend(unless_equal(machine.0[1].audit, compat.len()));
    code.extend(compat);
    code.push(verdict(SECCOMP_RET_KILL_PROCESS));
    code
}

/// Skips more instructions than fit a conditional jump unless the word equals `k`.
fn unless_equal(k: u32, count: usize) -> [sock_filter; 2] {
    [skip_if_equal(k, 1), insn(0x05, 0, 0, count as u32)]
}

/// Runs of call numbers, as (first number, fate), from 0 on without gaps.
fn fates(abi: Abi, capabilities: Capabilities) -> Vec<(u32, Fate)> {
    let number = |row: &Row| Some(row.1[abi.column]).filter(|n| *n != NO);
    let newest = ALLOWED.iter().filter_map(number).filter(|n| *n < ARM_PRIVATE).max().unwrap_or(0);
    // Every number for itself first: the fate from it on, until the next one.
    let mut runs = BTreeMap::from([(0, Fate::Verdict(EPERM)), (newest + 1, Fate::Verdict(ENOSYS))]);
    for row in &ALLOWED {
        let (Some(n), Some(fate)) = (number(row), Fate::of(row.2, capabilities)) else { continue };
        let default = if n > newest { ENOSYS } else { EPERM };
        runs.insert(n, fate);
        if n != newest {
            runs.entry(n + 1).or_insert(Fate::Verdict(default));
        }
    }
    let mut merged: Vec<(u32, Fate)> = Vec::new();
    for (first, fate) in runs {
        if merged.last().is_none_or(|(_, last)| *last != fate) {
            merged.push((first, fate));
        }
    }
    merged
}

/// A binary search for the run the loaded word is in.
fn search(runs: &[(u32, Fate)]) -> Vec<sock_filter> {
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    if let [(_, fate)] = runs {
        return fate.code();
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let below = search(low);
    let mut code = match u8::try_from(below.len()) {
        Ok(count) => vec![insn(JUMP_IF_AT_LEAST, count, 0, high[0].0)],
        Err(_) => {
            vec![insn(JUMP_IF_AT_LEAST, 0, 1, high[0].0), insn(0x05, 0, 0, below.len() as u32)]
        }
    };
    code.extend(below);
    code.extend(search(high));
    code
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a filter as the kernel would. Gives the verdict and how many instructions it took.
    fn run(code: &[sock_filter], arch: u32, number: u32, argument: u32) -> (u32, usize) {
        let arguments = [u64::from(argument), 0, 0, 0, 0, 0];
        steps(code, arch, number, &arguments)
    }

    /// The verdict on a call with these arguments.
    pub(in crate::seccomp) fn interpret(
        code: &[sock_filter],
        arch: u32,
        number: u32,
        arguments: &[u64; 6],
    ) -> u32 {
        steps(code, arch, number, arguments).0
    }

    fn steps(code: &[sock_filter], arch: u32, number: u32, arguments: &[u64; 6]) -> (u32, usize) {
        let data = |offset| match offset {
            NUMBER => number,
            ARCHITECTURE => arch,
            offset if offset >= ARGUMENT_0 => {
                let argument = arguments[(offset - ARGUMENT_0) as usize / 8];
                (argument >> ((offset - ARGUMENT_0) % 8 * 8)) as u32
            }
            _ => panic!("offset {offset}"),
        };
        let (mut at, mut word, mut steps) = (0, 0, 0);
        loop {
            let i = code[at];
            at += 1;
            steps += 1;
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                0x20 => word = data(i.k),
                0x54 => word &= i.k,
                0x15 => at += jump(word == i.k),
                0x25 => at += jump(word > i.k),
                0x35 => at += jump(word >= i.k),
                0x05 => at += i.k as usize,
                0x06 => return (i.k, steps),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const MACHINES: [Machine; 2] = [X86_64, AARCH64];

    fn row(name: &str) -> &'static Row {
        ALLOWED.iter().find(|row| row.0 == name).unwrap()
    }

    /// The verdict for a call by name, on all four ABIs, which must agree where they have it.
    fn verdict_of(name: &str, argument: u32, capabilities: Capabilities) -> u32 {
        let mut verdicts = Vec::new();
        for machine in MACHINES {
            let code = compile(&machine, capabilities);
            for abi in machine.0 {
                let number = row(name).1[abi.column];
                if number != NO {
                    verdicts.push(run(&code, abi.audit, number, argument).0);
                }
            }
        }
        assert!(verdicts.iter().all(|v| *v == verdicts[0]), "{name}: {verdicts:x?}");
        verdicts[0]
    }

    fn with(name: &str) -> Capabilities {
        Capabilities::docker().add(Capabilities::parse(name).unwrap())
    }

    #[test]
    fn every_row_has_its_fate_and_nothing_else_is_allowed() {
        for capabilities in [Capabilities::NONE, Capabilities::docker(), Capabilities::ALL] {
            for machine in MACHINES {
                let code = compile(&machine, capabilities);
                for abi in machine.0 {
                    let allowed = |n: u32| {
                        ALLOWED
                            .iter()
                            .filter(|row| row.1[abi.column] == n)
                            .filter_map(|row| Fate::of(row.2, capabilities))
                            .any(|fate| fate == Fate::Verdict(SECCOMP_RET_ALLOW))
                    };
                    for n in (0..1000).chain(ARM_PRIVATE..ARM_PRIVATE + 10) {
                        // An argument that no special rule allows.
                        let (verdict, _) = run(&code, abi.audit, n, 0x1002_0000);
                        assert_eq!(verdict == SECCOMP_RET_ALLOW, allowed(n), "{abi:x?} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_docker_refuses() {
        let docker = Capabilities::docker();
        for name in ["mount", "unshare", "setns", "bpf", "kcmp", "reboot", "settimeofday"] {
            assert_eq!(verdict_of(name, 0, docker), EPERM, "{name}");
        }
        assert_eq!(verdict_of("mount", 0, with("SYS_ADMIN")), SECCOMP_RET_ALLOW);
        assert_eq!(verdict_of("syslog", 0, with("SYSLOG")), SECCOMP_RET_ALLOW);
        assert_eq!(verdict_of("chroot", 0, docker), SECCOMP_RET_ALLOW);
        assert_eq!(verdict_of("chroot", 0, Capabilities::NONE), EPERM);
        // keyctl, add_key, request_key, kexec_load and userfaultfd on x86_64: nowhere in the table.
        let code = compile(&X86_64, Capabilities::ALL);
        for n in [250, 248, 249, 246, 323] {
            assert_eq!(run(&code, X86_64.0[0].audit, n, 0).0, EPERM, "{n}");
        }
    }

    #[test]
    fn arguments() {
        let docker = Capabilities::docker();
        assert_eq!(verdict_of("clone", 0x0120_0011, docker), SECCOMP_RET_ALLOW);
        for flag in [libc::CLONE_NEWNS, libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWPID]
        {
            assert_eq!(verdict_of("clone", flag as u32 | 0x11, docker), EPERM);
            assert_eq!(verdict_of("clone", flag as u32, with("SYS_ADMIN")), SECCOMP_RET_ALLOW);
        }
        assert_eq!(verdict_of("clone3", 0, docker), ENOSYS);
        for (personality, verdict) in
            [(0, SECCOMP_RET_ALLOW), (8, SECCOMP_RET_ALLOW), (0x40_0000, EPERM), (1, EPERM)]
        {
            assert_eq!(verdict_of("personality", personality, docker), verdict);
        }
        assert_eq!(verdict_of("personality", u32::MAX, docker), SECCOMP_RET_ALLOW);
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, 45] {
            assert_eq!(verdict_of("socket", family as u32, docker), SECCOMP_RET_ALLOW, "{family}");
        }
        for family in [0, 12, libc::AF_ALG, libc::AF_VSOCK, 46, -1] {
            assert_eq!(verdict_of("socket", family as u32, docker), EPERM, "{family}");
        }
    }

    #[test]
    fn unknown_numbers_and_architectures() {
        for machine in MACHINES {
            let code = compile(&machine, Capabilities::docker());
            for abi in machine.0 {
                assert_eq!(run(&code, abi.audit, 466, 0).0, SECCOMP_RET_ALLOW);
                assert_eq!(run(&code, abi.audit, 467, 0).0, ENOSYS, "newer than the table");
                assert_eq!(run(&code, abi.audit, 0x4000_0000, 0).0, ENOSYS, "x32");
            }
            assert_eq!(run(&code, 0xdead, 0, 0).0, SECCOMP_RET_KILL_PROCESS);
        }
        let x86 = compile(&X86_64, Capabilities::docker());
        assert_eq!(run(&x86, AARCH64.0[0].audit, 0, 0).0, SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn it_is_short() {
        for machine in MACHINES {
            let code = compile(&machine, Capabilities::docker());
            assert!(code.len() < 600, "{}", code.len());
            for n in 0..500 {
                let (_, steps) = run(&code, machine.0[0].audit, n, 0);
                assert!(steps < 30, "call {n} takes {steps}");
            }
        }
    }

    /// The numbers of this machine as the C library knows them.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_agree_with_libc() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("socket", libc::SYS_socket),
            ("mount", libc::SYS_mount),
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("unshare", libc::SYS_unshare),
            ("futex_waitv", libc::SYS_futex_waitv),
        ] {
            assert_eq!(i64::from(row(name).1[0]), number, "{name}");
        }
    }
}
