//! One hierarchy per controller, see `Documentation/admin-guide/cgroup-v1/`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::hierarchy::Hierarchies;
use super::{CgroupError, CgroupSpec, DEFAULT_PERIOD, Limits, Stats, file};

/// Controllers that `limits` need. With `accounting` also those that statistics come from, and
/// without v2 beside it, what v2 is otherwise used for.
fn controllers<'a>(limits: &Limits, accounting: bool, alone: bool) -> Vec<(&'a str, bool)> {
    let mut wanted = Vec::new();
    if accounting || limits.wants_memory() {
        wanted.push(("memory", limits.wants_memory()));
    }
    if accounting || limits.pids.is_some() {
        wanted.push(("pids", limits.pids.is_some()));
    }
    if limits.wants_cpu() {
        wanted.push(("cpu", true));
    }
    if limits.wants_cpuset() {
        wanted.push(("cpuset", true));
    }
    if accounting || limits.wants_io() {
        wanted.push(("blkio", !limits.io_rates.is_empty()));
    }
    if alone {
        wanted.push(("cpuacct", false));
        wanted.push(("freezer", false));
        wanted.push(("devices", false));
    }
    wanted
}

/// Makes the group in every hierarchy it is needed in, and where `within` is. Gives (controller,
/// directory).
pub(super) fn create(
    hierarchies: &Hierarchies,
    spec: &CgroupSpec,
    within: &[(String, PathBuf)],
    name: &str,
    groups: &mut Vec<(String, PathBuf)>,
) -> Result<(), CgroupError> {
    let alone = hierarchies.unified.is_none();
    let mut wanted = controllers(&spec.limits, spec.accounting, alone);
    for (controller, _) in within {
        if !wanted.iter().any(|(other, _)| other == controller) {
            wanted.push((controller, true));
        }
    }
    for (controller, required) in wanted {
        let Some(hierarchy) = hierarchies.v1.get(controller) else {
            if required {
                return Err(CgroupError::Unsupported { what: controller.to_owned() });
            }
            continue;
        };
        let parent = match within.iter().find(|(other, _)| other == controller) {
            Some((_, dir)) => dir.strip_prefix(&hierarchy.mount).ok().map(Path::to_string_lossy),
            None => spec.parent.as_deref().map(Into::into),
        };
        let parent =
            parent.unwrap_or_else(|| super::hierarchy::parent_group(&hierarchy.own, false).into());
        let mut dir = hierarchy.mount.clone();
        for part in parent.split('/').filter(|part| !part.is_empty()).chain([name]) {
            let above = dir.clone();
            dir.push(part);
            if file::make(&dir)? && controller == "cpuset" {
                inherit_cpuset(&above, &dir)?;
            }
        }
        // Two controllers can share a hierarchy; the group is then one.
        if !groups.iter().any(|(_, other)| *other == dir) {
            groups.push((controller.to_owned(), dir.clone()));
        }
        set_limits(controller, &dir, &spec.limits)?;
    }
    Ok(())
}

/// The controllers that [`needed`] may name.
pub(super) const EXTENDED: [&str; 5] = ["memory", "pids", "cpu", "cpuset", "blkio"];

/// The controllers that `limits` cannot do without.
pub(super) fn needed(limits: &Limits) -> impl Iterator<Item = &'static str> {
    let wanted = [
        limits.wants_memory(),
        limits.pids.is_some(),
        limits.wants_cpu(),
        limits.wants_cpuset(),
        limits.wants_io(),
    ];
    EXTENDED.into_iter().zip(wanted).filter_map(|(controller, wanted)| wanted.then_some(controller))
}

/// Makes the group `name` of one controller for a process that is in `above` by inheritance.
pub(super) fn make(controller: &str, above: &Path, name: &OsStr) -> Result<PathBuf, CgroupError> {
    let parent = above.join("bld");
    for (outer, dir) in [(above, parent.clone()), (parent.as_path(), parent.join(name))] {
        if file::make(&dir)? && controller == "cpuset" {
            inherit_cpuset(outer, &dir)?;
        }
    }
    Ok(parent.join(name))
}

/// A new cpuset is empty and lets nothing in until it is filled.
fn inherit_cpuset(above: &Path, dir: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if let Some(value) = file::read(above, name) {
            file::write(dir, name, &value)?;
        }
    }
    Ok(())
}

/// Writes the limits of one controller that are given; others stay as they are.
pub(super) fn set_limits(controller: &str, dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    match controller {
        "memory" => set_memory(dir, limits)?,
        "pids" => {
            if let Some(pids) = limits.pids {
                file::write(dir, "pids.max", &pids.to_string())?;
            }
        }
        "cpu" => {
            if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
                let period = limits.cpu_period.unwrap_or(DEFAULT_PERIOD);
                file::write(dir, "cpu.cfs_period_us", &period.to_string())?;
            }
            if let Some(quota) = limits.cpu_quota {
                file::write(dir, "cpu.cfs_quota_us", &quota.to_string())?;
            }
            if let Some(shares) = limits.cpu_shares {
                file::write(dir, "cpu.shares", &shares.to_string())?;
            }
        }
        "cpuset" => {
            if let Some(cpus) = &limits.cpuset_cpus {
                file::write(dir, "cpuset.cpus", cpus)?;
            }
            if let Some(nodes) = &limits.cpuset_mems {
                file::write(dir, "cpuset.mems", nodes)?;
            }
        }
        "blkio" => super::io::set_v1(dir, limits.io_weight, &limits.io_rates)?,
        _ => {}
    }
    Ok(())
}

fn set_memory(dir: &Path, limits: &Limits) -> Result<(), CgroupError> {
    const MEMORY: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    if let Some(low) = limits.memory_reservation {
        file::write(dir, "memory.soft_limit_in_bytes", &low.to_string())?;
    }
    // Missing where the kernel does not account swap.
    let with_swap = limits.memory_swap.filter(|_| dir.join(WITH_SWAP).exists());
    let Some(memory) = limits.memory else {
        return with_swap.map_or(Ok(()), |sum| file::write(dir, WITH_SWAP, &sum.to_string()));
    };
    // The kernel refuses a sum below the memory limit at every moment: which one goes first depends
    // on whether the limits are raised or lowered.
    let memory = memory.to_string();
    match with_swap.map(|sum| sum.to_string()) {
        None => file::write(dir, MEMORY, &memory),
        Some(sum) => {
            if file::write(dir, MEMORY, &memory).is_ok() {
                return file::write(dir, WITH_SWAP, &sum);
            }
            file::write(dir, WITH_SWAP, &sum)?;
            file::write(dir, MEMORY, &memory)
        }
    }
}

/// Adds what the group of one controller has used.
pub(super) fn stats(controller: &str, dir: &Path, stats: &mut Stats) {
    match controller {
        "memory" => {
            let used = file::number(dir, "memory.usage_in_bytes").unwrap_or(0);
            let cache = file::keyed(dir, "memory.stat", "total_inactive_file").unwrap_or(0);
            stats.memory = used.saturating_sub(cache);
            // "No limit" is the largest multiple of the page size that fits.
            stats.memory_limit =
                file::number(dir, "memory.limit_in_bytes").filter(|limit| *limit < 1 << 62);
            stats.oom_kills += file::keyed(dir, "memory.oom_control", "oom_kill").unwrap_or(0);
        }
        "pids" => stats.pids = file::number(dir, "pids.current").unwrap_or(0),
        "cpuacct" | "cpu" => {
            if let Some(nanoseconds) = file::number(dir, "cpuacct.usage") {
                stats.cpu_usec = nanoseconds / 1000;
            }
        }
        "blkio" => {
            let name = "blkio.throttle.io_service_bytes_recursive";
            for line in file::read(dir, name).unwrap_or_default().lines() {
                let mut fields = line.split(' ').skip(1);
                let (Some(what), Some(bytes)) = (fields.next(), fields.next()) else { continue };
                match what {
                    "Read" => stats.io_read += bytes.parse().unwrap_or(0),
                    "Write" => stats.io_written += bytes.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
