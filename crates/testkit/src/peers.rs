//! Other container tools, made to work where they would not by themselves.

use std::{fs, process::Command};

/// A command for `program`, one of buildah, podman and crun.
///
/// crun before version 1.9 refuses hosts that mount both generations of control groups. There the
/// program gets a view of the machine without the second one.
pub fn peer(program: &str) -> Command {
    if !has_both_control_groups() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", "umount /sys/fs/cgroup/unified && exec \"$@\"", "sh"])
        .arg(program);
    command
}

/// Arguments for `podman run` that keep it within the limits of this process: what it wants by default
/// may be more than a machine allows even to root.
pub fn podman_limits() -> Vec<String> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let hard = line.split_whitespace().nth(1)?;
        Some(if hard == "unlimited" { "-1".to_owned() } else { hard.to_owned() })
    };
    [("nofile", "Max open files"), ("nproc", "Max processes")]
        .into_iter()
        .filter_map(|(limit, name)| {
            let hard = hard(name)?;
            Some(format!("--ulimit={limit}={hard}:{hard}"))
        })
        .collect()
}

fn has_both_control_groups() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup/unified"))
    })
}
