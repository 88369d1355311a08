//! Other container tools, made to work where they would not by themselves.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::Cmd;

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

/// Debian's dockerd with a place of its own; ended with its containers when dropped.
///
/// It leaves the firewall alone. Ports are carried by its proxy, and its networks work among themselves.
pub struct Docker {
    daemon: Child,
    place: TempDir,
}

impl Docker {
    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("bld-docker-").tempdir()?;
        let path = |name: &str| place.path().join(name);
        let log = fs::File::create(path("log"))?;
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--host"])
            .arg(host(place.path()))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start dockerd (package docker.io)")?;
        let mut docker = Self { daemon, place };
        for _ in 0..600 {
            if UnixStream::connect(docker.place.path().join("socket")).is_ok() {
                return Ok(docker);
            }
            if docker.daemon.try_wait()?.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("dockerd does not start: {}", fs::read_to_string(docker.place.path().join("log"))?)
    }

    /// A program that speaks to it: `docker` or `docker-compose`.
    pub fn client(&self, program: &str) -> Cmd {
        Cmd::new(program).env("DOCKER_HOST", host(self.place.path()))
    }
}

fn host(place: &Path) -> String {
    format!("unix://{}", place.join("socket").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        let there = self.client("docker").args(["ps", "-aq"]).run();
        let ids: Vec<_> = there.stdout.split_whitespace().collect();
        if !ids.is_empty() {
            self.client("docker").args(["rm", "-fv"]).args(ids).run();
        }
        self.client("docker").args(["network", "prune", "-f"]).run();
        // It ends its containerd, too, unless it is killed.
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.daemon.wait();
    }
}
