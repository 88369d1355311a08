//! Other container tools, made to work where they would not by themselves.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

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

/// What [`peer`] has for one command, for all of them: a mount that one of them leaves, as podman does for
/// each network namespace, is there for the next. It ends when this is dropped.
pub struct PeerHouse(Option<Child>);

impl PeerHouse {
    /// Prepares it, where it is needed.
    ///
    /// # Panics
    /// When that fails.
    pub fn new() -> Self {
        if !has_both_control_groups() {
            return Self(None);
        }
        // It ends with its input, which ends with us.
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "sh",
                "-c",
                "umount /sys/fs/cgroup/unified && echo ready && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare (package util-linux)");
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        BufReader::new(output).read_line(&mut line).expect("read from a shell");
        assert_eq!(line, "ready\n", "a view of the machine with one generation of control groups");
        Self(Some(child))
    }

    /// A command for `program`.
    pub fn start(&self, program: &str) -> Command {
        let Some(child) = &self.0 else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &child.id().to_string(), program]);
        command
    }
}

impl Default for PeerHouse {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PeerHouse {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }
}

/// Arguments for `podman run`, whose default limits are more than some machines allow even to root.
pub const PODMAN_LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

fn has_both_control_groups() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/cgroup/unified"))
    })
}
