//! The processes of a container, and what they use where no control group counts that: those of ordinary
//! users may have none.

use std::fs;

use bld_sandbox::cgroup::{Cgroup, Stats};
use nix::unistd::{SysconfVar, sysconf};

use super::model::Container;
use crate::{EngineError, Result};

/// Clock ticks in a second, as `/proc` counts them on every machine there is.
const TICKS: u64 = 100;

impl Container {
    /// The number of the first process of a container that runs.
    pub(super) fn first_process(&self) -> Result<i32> {
        let process = self.state.process.filter(|p| self.state.is_running() && p.is_alive());
        let stopped = || EngineError::NotRunning { container: self.id.clone() };
        Ok(process.ok_or_else(stopped)?.pid)
    }

    /// The control group of a container that runs.
    ///
    /// # Errors
    /// [`EngineError::NoGroup`] if it has none.
    pub(super) fn cgroup(&self) -> Result<Cgroup> {
        let none = || EngineError::NoGroup { container: self.id.clone() };
        Cgroup::of(self.first_process()?)
            .map_err(|source| EngineError::Cgroup { source })?
            .ok_or_else(none)
    }

    /// The numbers of the processes of a container that runs.
    pub(super) fn processes(&self) -> Result<Vec<i32>> {
        match self.cgroup() {
            Ok(group) => Ok(group.processes()),
            Err(EngineError::NoGroup { .. }) => Ok(companions(self.first_process()?)),
            Err(error) => Err(error),
        }
    }

    /// What a container that runs has used.
    pub(super) fn used(&self) -> Result<Stats> {
        match self.cgroup() {
            Ok(group) => Ok(group.stats()),
            Err(EngineError::NoGroup { .. }) => Ok(sum(&companions(self.first_process()?))),
            Err(error) => Err(error),
        }
    }
}

/// All processes in the PID namespace of the process `first`.
fn companions(first: i32) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(first) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&own)).collect()
}

/// What these processes have used together; what others of them used that have ended is not known.
fn sum(pids: &[i32]) -> Stats {
    let mut all = Stats::default();
    for pid in pids {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        add(&mut all, &read("stat"), &read("io"));
    }
    all
}

/// Adds what the files `stat` and `io` of a process say, see proc(5).
fn add(all: &mut Stats, stat: &str, io: &str) {
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<u64> =
        fields.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    // Counted from the state, which is the third of all.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    all.cpu_usec += (field(14) + field(15)) * (1_000_000 / TICKS);
    all.pids += field(20);
    all.memory += field(24) * page_size();
    let bytes = |key: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    all.io_read += bytes("read_bytes:");
    all.io_written += bytes("write_bytes:");
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| size.try_into().ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_processes_use_is_read_behind_their_names() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194560 1 2 3 4 30 20 7 8 20 0 3 0 4242 100000 5 6";
        let mut all = Stats::default();
        add(&mut all, stat, "rchar: 5\nread_bytes: 4096\nwrite_bytes: 512\n");
        add(&mut all, "", "");
        assert_eq!((all.cpu_usec, all.pids), (500_000, 3));
        assert_eq!(all.memory, 5 * page_size());
        assert_eq!((all.io_read, all.io_written), (4096, 512));
    }
}
