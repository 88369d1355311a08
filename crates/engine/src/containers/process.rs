//! Processes that outlive the one that looks at them.

use std::fs;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process of this boot, told apart from later ones with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did; see `starttime` in proc(5).
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let (_, start) = stat(pid)?;
        Some(Self { pid, start })
    }

    /// This process.
    pub(crate) fn current() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it still runs. A zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start)| start == self.start && !matches!(state, 'Z' | 'X'))
    }

    /// A descriptor of the process that cannot come to mean another one; none when it is gone.
    pub(crate) fn open(self) -> Option<std::os::fd::OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after the descriptor was taken: from here on the number cannot be given away.
        self.is_alive().then_some(fd)
    }
}

/// State and start time of a process; see `/proc/pid/stat` in proc(5).
fn stat(pid: i32) -> Option<(char, u64)> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<(char, u64)> {
    // The name in parentheses may hold anything, further parentheses and blanks included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_fool_the_parser() {
        let stat = "7 (a) Z 1 (b)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 5";
        assert_eq!(parse(stat), Some(('S', 4242)));
        assert_eq!(parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_a_later_one_is_not_it() {
        let this = ProcessId::current();
        assert!(this.is_some_and(ProcessId::is_alive));
        assert!(this.is_some_and(|id| id.open().is_some()));
        let other = this.map(|id| ProcessId { start: id.start + 1, ..id });
        assert!(other.is_some_and(|id| !id.is_alive() && id.open().is_none()));
    }
}
