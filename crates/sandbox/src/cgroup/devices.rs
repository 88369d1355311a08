//! Which devices a control group may use.
//!
//! Containers have `CAP_MKNOD`, so what keeps them from making a node for the host's disk and
//! reading it is this, and only this. In v2 it is a BPF program that the kernel asks about every
//! open(2) and mknod(2) of a device; it is attached to the group, needs no controller, and hence
//! works in a hybrid set-up as well. In v1 it is the `devices` controller.
//!
//! See `Documentation/admin-guide/cgroup-v2.rst` (device controller) and
//! `Documentation/admin-guide/cgroup-v1/devices.rst`.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys;

/// Kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Block,
    Char,
}

/// What is allowed with some devices. Nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) kind: DeviceKind,
    /// None: any.
    pub(crate) major: Option<u32>,
    /// None: any.
    pub(crate) minor: Option<u32>,
    /// Of [`MKNOD`], [`READ`] and [`WRITE`].
    pub(crate) access: u32,
}

/// `BPF_DEVCG_ACC_MKNOD`
pub(crate) const MKNOD: u32 = 1;
/// `BPF_DEVCG_ACC_READ`
pub(crate) const READ: u32 = 2;
/// `BPF_DEVCG_ACC_WRITE`
pub(crate) const WRITE: u32 = 4;

const fn rule(kind: DeviceKind, major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule { kind, major: Some(major), minor, access: MKNOD | READ | WRITE }
}

/// Docker's default: any node may be made, the harmless ones used.
pub(crate) const DOCKER: [DeviceRule; 11] = [
    DeviceRule { kind: DeviceKind::Char, major: None, minor: None, access: MKNOD },
    DeviceRule { kind: DeviceKind::Block, major: None, minor: None, access: MKNOD },
    rule(DeviceKind::Char, 1, Some(3)), // null
    rule(DeviceKind::Char, 1, Some(5)), // zero
    rule(DeviceKind::Char, 1, Some(7)), // full
    rule(DeviceKind::Char, 1, Some(8)), // random
    rule(DeviceKind::Char, 1, Some(9)), // urandom
    rule(DeviceKind::Char, 5, Some(0)), // tty
    rule(DeviceKind::Char, 5, Some(1)), // console
    rule(DeviceKind::Char, 5, Some(2)), // ptmx
    rule(DeviceKind::Char, 136, None),  // pts
];

impl fmt::Display for DeviceRule {
    /// As the v1 controller reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = if self.kind == DeviceKind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: src << 4 | dst, offset, immediate }
}

// Instructions as in linux/bpf_common.h and linux/bpf.h, all on 32 bits.
const fn load(dst: u8, offset: i16) -> Insn {
    insn(0x61, dst, 1, offset, 0) // BPF_LDX | BPF_MEM | BPF_W, from the context in r1
}
const fn set(dst: u8, value: i32) -> Insn {
    insn(0xb4, dst, 0, 0, value)
}
const fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbc, dst, src, 0, 0)
}
const fn and(dst: u8, value: i32) -> Insn {
    insn(0x54, dst, 0, 0, value)
}
const fn shift_right(dst: u8, value: i32) -> Insn {
    insn(0x74, dst, 0, 0, value)
}
const fn skip_unless(dst: u8, value: i32, count: i16) -> Insn {
    insn(0x56, dst, 0, count, value) // BPF_JMP32 | BPF_JNE
}
const fn skip_unless_same(dst: u8, src: u8, count: i16) -> Insn {
    insn(0x5e, dst, src, count, 0)
}
const EXIT: Insn = insn(0x95, 0, 0, 0, 0);

/// The program for these rules. Its context is `struct bpf_cgroup_dev_ctx`: access and kind in one
/// word, major, minor.
fn program(rules: &[DeviceRule]) -> Vec<Insn> {
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    let mut code = vec![
        load(KIND, 0),
        copy(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules {
        let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
        let numbers = numbers.into_iter().filter_map(|(register, n)| n.map(|n| (register, n)));
        // To the next rule: over what follows, the two instructions that allow included.
        let mut left = 6 + numbers.clone().count() as i16;
        let mut skip = || {
            left -= 1;
            left
        };
        let kind = if rule.kind == DeviceKind::Block { 1 } else { 2 };
        code.push(skip_unless(KIND, kind, skip()));
        skip();
        code.push(copy(0, ACCESS));
        skip();
        code.push(and(0, rule.access as i32));
        code.push(skip_unless_same(0, ACCESS, skip()));
        for (register, n) in numbers {
            code.push(skip_unless(register, n as i32, skip()));
        }
        code.extend([set(0, 1), EXIT]);
    }
    code.extend([set(0, 0), EXIT]);
    code
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
#[derive(Default)]
#[repr(C)]
struct LoadAttr {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[derive(Default)]
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads the program for these rules into the kernel.
pub(crate) fn load_program(rules: &[DeviceRule]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: usize = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let code = program(rules);
    let mut attr = LoadAttr {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttr::default()
    };
    // SAFETY: `code` and the licence outlive the call, which only reads them; what it returns is a
    // new descriptor.
    Ok(unsafe { sys::own(sys::bpf(BPF_PROG_LOAD, &mut attr)?) })
}

/// Makes the kernel ask `program` about devices for everything in the v2 group `group`.
pub(crate) fn attach_program(program: impl AsFd, group: impl AsFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: usize = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let mut attr = AttachAttr {
        target: group.as_fd().as_raw_fd() as u32,
        program: program.as_fd().as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attribute has no pointers.
    unsafe { sys::bpf(BPF_PROG_ATTACH, &mut attr)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(code: &[Insn], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut r = [0u32; 6];
        let mut at = 0usize;
        loop {
            let Insn { code, registers, offset, immediate } = code[at];
            let (dst, src) = (usize::from(registers & 15), usize::from(registers >> 4));
            at += 1;
            match code {
                0x61 => r[dst] = context[offset as usize / 4],
                0xb4 => r[dst] = immediate as u32,
                0xbc => r[dst] = r[src],
                0x54 => r[dst] &= immediate as u32,
                0x74 => r[dst] >>= immediate,
                0x56 if r[dst] != immediate as u32 => at += offset as usize,
                0x5e if r[dst] != r[src] => at += offset as usize,
                0x56 | 0x5e => {}
                0x95 => return r[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn docker_default() {
        let code = program(&DOCKER);
        assert!(allows(&code, 2, READ | WRITE, 1, 3), "null");
        assert!(allows(&code, 2, READ, 136, 7), "a terminal");
        assert!(allows(&code, 1, MKNOD, 8, 0), "a node of a disk may be made");
        assert!(!allows(&code, 1, READ, 8, 0), "a disk may not be read");
        assert!(!allows(&code, 1, MKNOD | READ, 8, 0));
        assert!(!allows(&code, 2, READ, 1, 1), "memory may not be read");
        assert!(!allows(&code, 2, READ, 10, 200), "tun");
    }

    #[test]
    fn rules_are_tried_in_turn() {
        let rules =
            [DeviceRule { kind: DeviceKind::Char, major: Some(10), minor: None, access: READ }];
        let code = program(&rules);
        assert!(allows(&code, 2, READ, 10, 229));
        assert!(!allows(&code, 2, WRITE, 10, 229));
        assert!(!allows(&code, 1, READ, 10, 229));
        assert_eq!(rules[0].to_string(), "c 10:* r");
        assert_eq!(DOCKER[2].to_string(), "c 1:3 rwm");
    }
}
