//! Finding and removing what a killed process left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use super::hierarchy::{Hierarchies, Hierarchy, parent_group};
use super::{Cgroup, CgroupError, file};

/// `name` with the mark of this process.
pub(super) fn tagged(name: &str) -> Result<String, CgroupError> {
    static TAG: OnceLock<String> = OnceLock::new();
    if let Some(tag) = TAG.get() {
        return Ok(format!("{name}@{tag}"));
    }
    let pid = std::process::id();
    let path = PathBuf::from("/proc/self/stat");
    let started = start_time(pid)
        .ok_or_else(|| file::error("read", &path)(io::ErrorKind::InvalidData.into()))?;
    let tag = TAG.get_or_init(|| format!("{pid}.{started}"));
    Ok(format!("{name}@{tag}"))
}

/// The path, from the root of hierarchies, of a group called `name` that somebody else makes for us.
///
/// # Errors
/// This process's start time is not known.
pub fn path_for(name: &str) -> Result<String, CgroupError> {
    Ok(format!("/bld/{}", tagged(name)?))
}

/// Whether a group has such a mark.
pub(super) fn is_tagged(name: &str) -> bool {
    owner(name).is_some()
}

/// Process number and start time in the mark of a group's name.
fn owner(name: &str) -> Option<(u32, u64)> {
    let (pid, started) = name.rsplit_once('@')?.1.split_once('.')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// When a process started, in clock ticks since boot: field 22 of proc_pid_stat(5). With it, a
/// process number that was given out again is told apart. `None` when it is dead, even if nobody has
/// waited for it yet: some first processes never do.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, in parentheses, and may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Removes control groups named `prefix...` below `parent` (see [`CgroupSpec`](super::CgroupSpec))
/// whose maker is dead, with everything that still runs in them. Returns how many.
///
/// # Errors
/// The hierarchies are not known. Groups that resist are left for the next sweep.
pub fn sweep(prefix: &str, parent: Option<&str>) -> Result<usize, CgroupError> {
    let all =
        Hierarchies::usable().map_err(file::error("find", Path::new("/proc/self/mountinfo")))?;
    let parent = |h: &Hierarchy, unified| match parent {
        Some(parent) => h.dir(parent),
        None => h.dir(&parent_group(&h.own, unified)),
    };
    let mut parents: Vec<PathBuf> = all.v1.values().map(|h| parent(h, false)).collect();
    // First, because there a whole group can be killed at once.
    parents.splice(0..0, all.unified.iter().map(|h| parent(h, true)));
    let mut count = 0;
    for dir in parents.iter().flat_map(|parent| file::below(parent)) {
        let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some((pid, started)) = owner(name).filter(|_| name.starts_with(prefix)) else {
            continue;
        };
        if start_time(pid) == Some(started) {
            continue;
        }
        let group = Cgroup::at(dir.clone());
        // This directory alone: each of a group's directories is found, and counted, by itself.
        let end = Instant::now() + file::REMOVE_WITHIN;
        if group.kill().and_then(|()| file::remove(&dir, end)).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let name = tagged("build-1").unwrap();
        let (pid, started) = owner(&name).unwrap();
        assert_eq!(pid, std::process::id());
        assert_eq!(start_time(pid), Some(started));
        assert!(is_tagged("x@1.2"));
        assert!(!is_tagged("session-1.scope"));
        assert!(!is_tagged("user@1000.service"));
    }

    #[test]
    fn the_dead_that_nobody_waits_for_are_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(start_time(child.id()).is_some());
        child.kill().unwrap();
        while start_time(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(Path::new(&format!("/proc/{}", child.id())).exists());
        child.wait().unwrap();
    }
}
