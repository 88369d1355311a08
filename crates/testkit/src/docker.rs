//! The real docker, with a daemon of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Cmd;

/// How long the daemon may take to begin and to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A docker daemon that touches neither the machine's firewall nor its default bridge, and keeps its
/// files in a directory of its own. Ports are carried by its proxy. Ended and emptied when dropped.
pub struct Docker {
    daemon: Child,
    directory: TempDir,
    /// Control groups that are there because of the daemon.
    groups: Vec<PathBuf>,
}

impl Docker {
    /// Whether there is a daemon to start. Where there is, one that does not start is a failure.
    pub fn is_installed() -> bool {
        let places = "command -v dockerd || test -x /usr/sbin/dockerd";
        Cmd::new("sh").args(["-c", places]).run().code == 0
    }

    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// Why there is none here: it is not installed, or it cannot be started on this machine. That is
    /// the end of its log then.
    pub fn start() -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("docker-").tempdir();
        let directory = directory.map_err(|error| error.to_string())?;
        let place = |name: &str| directory.path().join(name);
        let log = File::create(place("log")).map_err(|error| error.to_string())?;
        let groups = groups().into_iter().filter(|group| !group.exists()).collect();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"])
            .arg("--containerd-namespace=peer")
            .arg("--data-root")
            .arg(place("data"))
            .arg("--exec-root")
            .arg(place("exec"))
            .arg("--pidfile")
            .arg(place("pid"))
            .arg("--host")
            .arg(format!("unix://{}", place("socket").display()))
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("start dockerd: {error}"))?;
        let mut docker = Self { daemon, directory, groups };
        let end = Instant::now() + PATIENCE;
        loop {
            if docker.cmd(["info"]).run().code == 0 {
                return Ok(docker);
            }
            if docker.daemon.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > end {
                let log = fs::read_to_string(docker.directory.path().join("log"));
                let log = log.unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                return Err(format!("\n{}", lines[lines.len().saturating_sub(10)..].join("\n")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("socket").display())
    }

    /// The client with arguments.
    pub fn cmd<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        self.client("docker").args(arguments)
    }

    /// A program that speaks to it, such as `docker-compose`.
    pub fn client(&self, program: &str) -> Cmd {
        Cmd::new(program).env("DOCKER_HOST", self.host())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let remove =
            "docker rm -fv $(docker ps -aq); docker network prune -f; docker volume prune -f";
        Cmd::new("sh").args(["-c", remove]).env("DOCKER_HOST", self.host()).run();
        // It ends what it has started, which it cannot do when it is killed.
        Cmd::new("kill").arg(self.daemon.id().to_string()).run();
        let end = Instant::now() + PATIENCE;
        while self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > end {
                let _gone = self.daemon.kill();
                let _reaped = self.daemon.wait();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for group in &self.groups {
            // Another daemon may have come to use it.
            let _busy = fs::remove_dir(group);
        }
    }
}

/// The groups that daemons keep their containers in.
fn groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    controllers.chain([root.to_owned()]).map(|controller| controller.join("docker")).collect()
}
