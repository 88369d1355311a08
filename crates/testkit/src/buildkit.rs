//! The real BuildKit, with a daemon of its own.

use std::fs::{self, File};
use std::process::Child;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Cmd, peer};

/// How long the daemon may take to begin and to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon of BuildKit that keeps its files in a directory of its own. Ended and emptied when dropped.
pub struct BuildKit {
    daemon: Child,
    directory: TempDir,
}

impl BuildKit {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// Why there is none here: it is not installed, or it cannot be started on this machine. That is
    /// the end of its log then.
    pub fn start() -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("buildkit-").tempdir();
        let directory = directory.map_err(|error| error.to_string())?;
        let place = |name: &str| directory.path().join(name);
        let log = File::create(place("log")).map_err(|error| error.to_string())?;
        if Cmd::new("sh").args(["-c", "command -v buildkitd buildctl"]).run().code != 0 {
            return Err("buildkitd and buildctl are not installed".to_owned());
        }
        let daemon = peer("buildkitd")
            .args(["--containerd-worker=false", "--oci-worker=true", "--oci-worker-net=host"])
            .arg("--oci-worker-snapshotter=native")
            .arg("--root")
            .arg(place("root"))
            .arg("--addr")
            .arg(format!("unix://{}", place("socket").display()))
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("start buildkitd: {error}"))?;
        let mut buildkit = Self { daemon, directory };
        let end = Instant::now() + PATIENCE;
        loop {
            if buildkit.ctl(["debug", "workers"]).run().code == 0 {
                return Ok(buildkit);
            }
            let has_ended = buildkit.daemon.try_wait().is_ok_and(|ended| ended.is_some());
            if has_ended || Instant::now() > end {
                let log = fs::read_to_string(buildkit.directory.path().join("log"));
                let log = log.unwrap_or_default();
                return Err(log.lines().last().unwrap_or("it says nothing").to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The client with arguments.
    pub fn ctl<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        let address = format!("unix://{}", self.directory.path().join("socket").display());
        Cmd::new("buildctl").args(["--addr", &address]).args(arguments)
    }
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        // It ends what it has started, which it cannot do when it is killed.
        Cmd::new("kill").arg(self.daemon.id().to_string()).run();
        let end = Instant::now() + PATIENCE;
        while self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > end {
                let _gone = self.daemon.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ended = self.daemon.wait();
    }
}
