//! The unified hierarchy, see `Documentation/admin-guide/cgroup-v2.rst`.

use std::path::{Path, PathBuf};

use super::hierarchy::Hierarchy;
use super::{CgroupError, Limits, Stats, file};

/// Controllers that `limits` need, or `all` that statistics come from.
fn controllers(limits: &Limits, all: bool) -> Vec<&'static str> {
    let mut needed = Vec::new();
    if all || limits.wants_memory() {
        needed.push("memory");
    }
    if all || limits.pids.is_some() {
        needed.push("pids");
    }
    if all || limits.wants_cpu() {
        needed.push("cpu");
    }
    if limits.wants_cpuset() {
        needed.push("cpuset");
    }
    if all || limits.wants_io() {
        needed.push("io");
    }
    needed
}

/// Makes the group `parent/name` and everything above it, and gives it the controllers it needs.
///
/// With `hybrid`, controllers belong to v1 and none is enabled here.
pub(super) fn create(
    hierarchy: &Hierarchy,
    parent: &str,
    name: &str,
    limits: &Limits,
    accounting: bool,
    hybrid: bool,
) -> Result<PathBuf, CgroupError> {
    let needed = if hybrid { Vec::new() } else { controllers(limits, accounting) };
    let mut dir = hierarchy.mount.clone();
    let names = parent.split('/').filter(|part| !part.is_empty());
    for part in names.chain([name]) {
        enable(&dir, &needed, limits)?;
        dir.push(part);
        file::make(&dir)?;
    }
    if !hybrid {
        set_limits(&dir, limits)?;
    }
    Ok(dir)
}

/// Gives a group that exists the controllers that `limits` need.
pub(super) fn extend(
    hierarchy: &Hierarchy,
    dir: &Path,
    limits: &Limits,
) -> Result<(), CgroupError> {
    let needed = controllers(limits, false);
    let mut above = hierarchy.mount.clone();
    for part in dir.strip_prefix(&hierarchy.mount).unwrap_or(dir) {
        enable(&above, &needed, limits)?;
        above.push(part);
    }
    Ok(())
}

/// Hands controllers on to the groups below `dir`. One that is only wanted for its statistics may
/// be missing.
fn enable(dir: &Path, needed: &[&'static str], limits: &Limits) -> Result<(), CgroupError> {
    if needed.is_empty() {
        return Ok(());
    }
    let enabled = file::read(dir, "cgroup.subtree_control").unwrap_or_default();
    for controller in needed {
        if enabled.split(' ').any(|c| c == *controller) {
            continue;
        }
        let result = file::write(dir, "cgroup.subtree_control", &format!("+{controller}"));
        if controllers(limits, false).contains(controller) {
            result?;
        }
    }
    Ok(())
}

/// Writes the limits that are given; others stay as they are.
pub(super) fn set_limits(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    if let Some(memory) = limits.memory {
        file::write(dir, "memory.max", &memory.to_string())?;
    }
    if let Some(swap) = limits.memory_swap {
        // Here swap alone is limited; v1 and Docker's options limit the sum.
        let value = match u64::try_from(swap) {
            Ok(total) => total.saturating_sub(limits.memory.unwrap_or(0)).to_string(),
            Err(_) => "max".to_owned(),
        };
        // Missing where the kernel does not account swap.
        if dir.join("memory.swap.max").exists() {
            file::write(dir, "memory.swap.max", &value)?;
        }
    }
    if let Some(low) = limits.memory_reservation {
        file::write(dir, "memory.low", &low.to_string())?;
    }
    if let Some(pids) = limits.pids {
        file::write(dir, "pids.max", &pids.to_string())?;
    }
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let quota = limits.cpu_quota.map_or_else(|| "max".to_owned(), |q| q.to_string());
        let period = limits.cpu_period.unwrap_or(super::DEFAULT_PERIOD);
        file::write(dir, "cpu.max", &format!("{quota} {period}"))?;
    }
    if let Some(shares) = limits.cpu_shares {
        file::write(dir, "cpu.weight", &weight(shares).to_string())?;
    }
    if let Some(cpus) = &limits.cpuset_cpus {
        file::write(dir, "cpuset.cpus", cpus)?;
    }
    if let Some(nodes) = &limits.cpuset_mems {
        file::write(dir, "cpuset.mems", nodes)?;
    }
    super::io::set_v2(dir, limits.io_weight, &limits.io_rates)
}

/// v1 shares of 2 to 262144 as v2 weights of 1 to 10000, linear, as OCI runtimes do it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// What the group has used; what no controller counts stays 0.
pub(super) fn stats(dir: &Path, stats: &mut Stats) {
    if let Some(usec) = file::keyed(dir, "cpu.stat", "usage_usec") {
        stats.cpu_usec = usec;
    }
    if let Some(memory) = file::number(dir, "memory.current") {
        let cache = file::keyed(dir, "memory.stat", "inactive_file").unwrap_or(0);
        stats.memory = memory.saturating_sub(cache);
        stats.memory_limit = file::number(dir, "memory.max");
    }
    if let Some(pids) = file::number(dir, "pids.current") {
        stats.pids = pids;
    }
    for line in file::read(dir, "io.stat").unwrap_or_default().lines() {
        for field in line.split(' ') {
            let bytes = |key| field.strip_prefix(key).and_then(|n: &str| n.parse::<u64>().ok());
            stats.io_read += bytes("rbytes=").unwrap_or(0);
            stats.io_written += bytes("wbytes=").unwrap_or(0);
        }
    }
    stats.oom_kills += file::keyed(dir, "memory.events", "oom_kill").unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(1024), 39);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(0), 1);
    }

    #[test]
    fn only_what_is_limited_is_enabled() {
        let limits = Limits { pids: Some(3), ..Limits::default() };
        assert_eq!(controllers(&limits, false), ["pids"]);
        assert_eq!(controllers(&limits, true), ["memory", "pids", "cpu", "io"]);
        assert_eq!(controllers(&Limits::default().cpus(1.5), false), ["cpu"]);
    }

    /// The files of a group as plain files: what is written where needs no kernel.
    #[test]
    fn limits_land_in_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let limits = Limits {
            memory: Some(1 << 20),
            memory_swap: Some(3 << 20),
            pids: Some(7),
            cpu_shares: Some(1024),
            ..Limits::default()
        };
        set_limits(dir.path(), &limits.cpus(0.5)).unwrap();
        let read = |name| file::read(dir.path(), name).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.swap.max"), "2097152");
        assert_eq!(read("pids.max"), "7");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("cpu.weight"), "39");
        let missing = Limits { memory_reservation: Some(1), ..Limits::default() };
        assert!(set_limits(dir.path(), &missing).is_err());
        assert!(!dir.path().join("memory.low").exists());
    }

    #[test]
    fn statistics_come_from_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "9000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 100\ninactive_file 4000\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n"),
            ("pids.current", "4\n"),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut found = Stats::default();
        stats(dir.path(), &mut found);
        let expected = Stats {
            cpu_usec: 1500,
            memory: 5000,
            memory_limit: None,
            pids: 4,
            io_read: 11,
            io_written: 22,
            oom_kills: 1,
        };
        assert_eq!(found, expected);
    }
}
