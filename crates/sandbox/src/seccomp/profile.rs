//! Filters of the user's own, compiled into classic BPF: the rules one after the other, as they are written.

use libc::{
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG, SECCOMP_RET_TRAP, sock_filter,
};

use super::filter::{ARCHITECTURE, NATIVE, NUMBER, insn, load, verdict};
use super::table::{ALLOWED, NO};

/// A system call filter as data: what becomes of a call is what the first rule says that it fits. Programs for
/// another architecture than the machine's own are ended: the rules name calls, and those have other ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What becomes of calls that no rule fits.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// What becomes of some system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Their names. What this machine does not have is left out.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: Action,
    /// What has to hold for their arguments.
    pub conditions: Vec<Condition>,
}

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is done.
    Allow,
    /// It is done, and written to the kernel's log.
    Log,
    /// It fails with this error number.
    Errno(u16),
    /// The thread gets a SIGSYS.
    Trap,
    /// The thread ends.
    KillThread,
    /// The process ends.
    KillProcess,
}

/// What has to hold for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which one, from 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub is: Compare,
    /// What with.
    pub value: u64,
    /// The bits that count, for [`Compare::Masked`].
    pub mask: u64,
}

/// How an argument is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// It is another.
    NotEqual,
    /// It is less.
    Less,
    /// It is less or the same.
    LessOrEqual,
    /// It is the same.
    Equal,
    /// It is the same or more.
    GreaterOrEqual,
    /// It is more.
    Greater,
    /// As far as the mask goes, it is the same.
    Masked,
}

/// Calls that Docker's own profile allows to nobody.
const OTHERS: [(&str, libc::c_long); 15] = [
    ("add_key", libc::SYS_add_key),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("migrate_pages", libc::SYS_migrate_pages),
    ("move_pages", libc::SYS_move_pages),
    ("nfsservctl", libc::SYS_nfsservctl),
    ("pivot_root", libc::SYS_pivot_root),
    ("request_key", libc::SYS_request_key),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// The number of a call on this machine.
fn number(name: &str) -> Option<u32> {
    let column = NATIVE.own().column;
    let known = ALLOWED.iter().find(|row| row.0 == name).map(|row| row.1[column]);
    let other = || OTHERS.iter().find(|(other, _)| *other == name).map(|(_, n)| *n as u32);
    known.or_else(other).filter(|number| *number != NO)
}

impl Action {
    fn code(self) -> u32 {
        match self {
            Self::Allow => SECCOMP_RET_ALLOW,
            Self::Log => SECCOMP_RET_LOG,
            Self::Errno(number) => SECCOMP_RET_ERRNO | u32::from(number),
            Self::Trap => SECCOMP_RET_TRAP,
            Self::KillThread => SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => SECCOMP_RET_KILL_PROCESS,
        }
    }
}

const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;

/// Where a comparison leads to.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    On,
    /// Over so many.
    Over(u8),
    /// The condition does not hold.
    No,
}

/// An instruction, or a comparison whose ends are not known yet.
enum Step {
    Plain(sock_filter),
    Jump(u16, u32, To, To),
}

impl Condition {
    fn steps(self) -> Vec<Step> {
        let at = 16 + 8 * u32::from(self.index);
        let (low, high) = (self.value as u32, (self.value >> 32) as u32);
        let word = |offset| Step::Plain(load(offset));
        let and = |mask| Step::Plain(insn(AND, 0, 0, mask));
        let (last, yes, no) = match self.is {
            Compare::Masked => {
                return vec![
                    word(at + 4),
                    and((self.mask >> 32) as u32),
                    Step::Jump(IF_EQUAL, high, To::On, To::No),
                    word(at),
                    and(self.mask as u32),
                    Step::Jump(IF_EQUAL, low, To::On, To::No),
                ];
            }
            Compare::Equal => (IF_EQUAL, To::On, To::No),
            Compare::NotEqual => (IF_EQUAL, To::No, To::On),
            Compare::Greater => (IF_GREATER, To::On, To::No),
            Compare::LessOrEqual => (IF_GREATER, To::No, To::On),
            Compare::GreaterOrEqual => (IF_AT_LEAST, To::On, To::No),
            Compare::Less => (IF_AT_LEAST, To::No, To::On),
        };
        // The upper half decides alone, unless it is the same.
        let (above, below) = match self.is {
            Compare::Greater | Compare::GreaterOrEqual => (To::Over(3), To::No),
            Compare::Less | Compare::LessOrEqual => (To::No, To::Over(2)),
            Compare::NotEqual => (To::Over(3), To::Over(2)),
            Compare::Equal | Compare::Masked => (To::No, To::No),
        };
        vec![
            word(at + 4),
            Step::Jump(IF_GREATER, high, above, To::On),
            Step::Jump(IF_EQUAL, high, To::On, below),
            word(at),
            Step::Jump(last, low, yes, no),
        ]
    }
}

/// The instructions for one call of a rule: they leave its number loaded where it is another one.
fn block(number: u32, rule: &Rule) -> Vec<sock_filter> {
    let steps: Vec<Step> = rule.conditions.iter().flat_map(|condition| condition.steps()).collect();
    if steps.is_empty() {
        return vec![insn(IF_EQUAL, 0, 1, number), verdict(rule.action.code())];
    }
    // The comparisons, the verdict, and the number loaded again.
    let mut code = vec![insn(IF_EQUAL, 0, steps.len() as u8 + 1, number)];
    for (index, step) in steps.iter().enumerate() {
        let leads = |to: To| match to {
            To::On => 0,
            To::Over(count) => count,
            To::No => (steps.len() - index) as u8,
        };
        code.push(match step {
            Step::Plain(plain) => *plain,
            Step::Jump(how, k, yes, no) => insn(*how, leads(*yes), leads(*no), *k),
        });
    }
    code.extend([verdict(rule.action.code()), load(NUMBER)]);
    code
}

/// The filter, for this machine.
pub(super) fn compile(profile: &Profile) -> Vec<sock_filter> {
    /// Where the calls of the x32 ABI begin, which is not served.
    const X32: u32 = 0x4000_0000;
    let mut code = vec![
        load(ARCHITECTURE),
        insn(IF_EQUAL, 1, 0, NATIVE.own().audit),
        verdict(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        insn(IF_AT_LEAST, 0, 1, X32),
        verdict(SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    for rule in &profile.rules {
        for number in rule.names.iter().filter_map(|name| number(name)) {
            code.extend(block(number, rule));
        }
    }
    code.push(verdict(profile.default.code()));
    code
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::interpret;
    use super::*;

    fn rule(name: &str, action: Action, conditions: &[Condition]) -> Rule {
        Rule { names: vec![name.to_owned()], action, conditions: conditions.to_vec() }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = vec![rule("keyctl", Action::Allow, &[]), rule("mkdir", Action::Errno(13), &[])];
        let code = compile(&Profile { default: Action::Errno(1), rules });
        let run = |number| interpret(&code, NATIVE.own().audit, number, &[0; 6]);
        assert_eq!(run(libc::SYS_keyctl as u32), SECCOMP_RET_ALLOW);
        assert_eq!(run(number("mkdir").unwrap()), SECCOMP_RET_ERRNO | libc::EACCES as u32);
        assert_eq!(run(libc::SYS_read as u32), SECCOMP_RET_ERRNO | 1);
        assert_eq!(interpret(&code, 1, 0, &[0; 6]), SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn arguments_are_compared_as_a_whole() {
        let values =
            [0, 1, 5, 6, 7, (1 << 32) + 5, (1 << 32) + 6, (1 << 32) + 7, 6 << 32, u64::MAX];
        let mask = 0xf_0000_000f;
        for value in values {
            for argument in values {
                for (is, holds) in [
                    (Compare::Equal, argument == value),
                    (Compare::NotEqual, argument != value),
                    (Compare::Less, argument < value),
                    (Compare::LessOrEqual, argument <= value),
                    (Compare::Greater, argument > value),
                    (Compare::GreaterOrEqual, argument >= value),
                    (Compare::Masked, argument & mask == value),
                ] {
                    let condition = Condition { index: 2, is, value, mask };
                    let rules = vec![
                        rule("read", Action::Log, &[condition]),
                        rule("read", Action::Trap, &[]),
                    ];
                    let code = compile(&Profile { default: Action::Allow, rules });
                    let arguments = [9, 9, argument, 9, 9, 9];
                    let seen =
                        interpret(&code, NATIVE.own().audit, libc::SYS_read as u32, &arguments);
                    let wanted = if holds { SECCOMP_RET_LOG } else { SECCOMP_RET_TRAP };
                    assert_eq!(seen, wanted, "{argument:#x} {is:?} {value:#x}");
                }
            }
        }
    }
}
