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

/// Arguments for `podman run`, whose default limits are more than some machines allow even to root.
pub const PODMAN_LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

fn has_both_control_groups() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup/unified"))
    })
}
