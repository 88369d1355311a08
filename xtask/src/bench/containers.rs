//! Containers that run: what comes before and after what is timed, and what holds them.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{builder::Builder, measure::Usage, workload::Workload};

/// Something that is done with containers that run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// `true` in one that runs.
    Exec,
    /// A web server from its start until it answers at a port of the host.
    Serve,
    /// One that ends when it is asked to.
    Stop,
    /// Fifty, all started at the same time.
    Crowd,
    /// Ten, one after the other, and the memory of what holds each of them.
    Hold,
}

/// What the names of all containers begin with.
const NAME: &str = "bld-bench-";

/// The port of the host that the server is reached at.
const PORT: u16 = 18_980;

/// The network that podman serves on: its own default has the addresses of bld's.
const NETWORK: &str = "bld-bench";
const SUBNET: &str = "10.213.89.0/24";

/// How many containers there are in a crowd, and how many are held.
const CROWD: usize = 50;
const HELD: usize = 10;

/// Removes all containers that measurements have left.
const REMOVE: &str = r#"ids=$("$@" ps --all --quiet --filter name=bld-bench-)
[ -z "$ids" ] || "$@" rm --force "#;

/// How long containers have had nothing to do when it is looked at what holds them.
const IDLE: Duration = Duration::from_secs(3);

impl Life {
    /// What is timed.
    pub(super) fn commands(self, builder: &Builder, image: &str) -> Vec<Command> {
        match self {
            Self::Exec => {
                let mut exec = builder.start();
                exec.args(["exec", &format!("{NAME}0"), "true"]);
                vec![exec]
            }
            Self::Serve => {
                let port = format!("127.0.0.1:{PORT}:80");
                let mut serve = vec!["--publish", &port, image, "httpd", "-f", "-h", "/"];
                if builder.name == "podman" {
                    serve.splice(0..0, ["--network", NETWORK]);
                }
                // A connection alone says nothing: what carries it may be there before the server.
                let ask = format!(
                    "SECONDS=0; until exec 3<>/dev/tcp/127.0.0.1/{PORT} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && \
                     read -r -t 1 line <&3 && [[ $line = HTTP* ]]; do ((SECONDS < 30)) || exit 1; sleep 0.002; done 2>/dev/null"
                );
                let mut answer = Command::new("bash");
                answer.args(["-c", &ask]);
                vec![run(builder, 0, &serve), answer]
            }
            Self::Stop => {
                let mut stop = builder.start();
                stop.args(["stop", &format!("{NAME}0")]);
                vec![stop]
            }
            Self::Crowd => {
                let words = run_words(builder, &[image, "sleep", "100000"]);
                let script = format!(
                    "for n in $(seq {CROWD}); do \"$@\" run --detach --name {NAME}$n {words} & \
                     pids=\"$pids $!\"; done; for pid in $pids; do wait $pid || exit 1; done"
                );
                vec![shell(builder, &script)]
            }
            Self::Hold => (0..HELD).map(|n| run(builder, n, &[image, "sleep", "100000"])).collect(),
        }
    }

    /// What comes before each run, or before the first.
    pub(super) fn before(self, builder: &Builder, image: &str, first: bool) -> Vec<Command> {
        match self {
            Self::Exec if !first => Vec::new(),
            Self::Exec => vec![self.after(builder), run(builder, 0, &[image, "sleep", "100000"])],
            Self::Stop => {
                let until_told = "trap 'exit 0' TERM; sleep 100000 & wait";
                vec![self.after(builder), run(builder, 0, &[image, "sh", "-c", until_told])]
            }
            Self::Serve if builder.name == "podman" => {
                let create = ["network", "create", "--subnet", SUBNET, NETWORK];
                let mut network = builder.start();
                network.args(create);
                vec![self.after(builder), network]
            }
            Self::Serve | Self::Crowd | Self::Hold => vec![self.after(builder)],
        }
    }

    /// What comes after the last run.
    #[expect(clippy::unused_self, reason = "it belongs to the others")]
    pub(super) fn after(self, builder: &Builder) -> Command {
        // Podman waits for each to end by itself, unless it is told not to.
        if builder.name == "podman" {
            let network = format!("\"$@\" network rm --force {NETWORK} || true");
            return shell(builder, &format!("{REMOVE} --time 0 $ids\n{network}"));
        }
        shell(builder, &format!("{REMOVE} $ids"))
    }

    /// Whether another builder's turn needs what this one's leaves to be gone: the port of the host, and
    /// the machine's attention.
    pub(super) fn is_in_the_way(self) -> bool {
        self != Self::Exec
    }

    /// What was taken for one container, where several were looked at.
    pub(super) fn each(self, builder: &Builder, usage: Usage) -> Result<Usage> {
        if self != Self::Hold {
            return Ok(usage);
        }
        let count = HELD as u64;
        thread::sleep(IDLE);
        let memory = held(builder)? / count;
        Ok(Usage { wall: usage.wall / count as f64, cpu: usage.cpu / count as f64, memory })
    }
}

/// Starts a container in the background.
fn run(builder: &Builder, number: usize, words: &[&str]) -> Command {
    let mut command = builder.start();
    command.args(["run", "--detach", "--name", &format!("{NAME}{number}")]);
    command.args(builder.limits()).args(words);
    command
}

/// Words for a shell, none of which needs quotes.
fn run_words(builder: &Builder, words: &[&str]) -> String {
    let all: Vec<_> = builder.limits().into_iter().chain(words.iter().copied()).collect();
    all.join(" ")
}

/// A script that has the engine's command in its arguments.
fn shell(builder: &Builder, script: &str) -> Command {
    let engine = builder.start();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(engine.get_program()).args(engine.get_args());
    for (name, value) in engine.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// Bytes that the processes have in memory that hold the containers: each has the full id of one in
/// its command line, be it bld's, `conmon` or `containerd-shim`.
fn held(builder: &Builder) -> Result<u64> {
    let filter = format!("name={NAME}");
    let output =
        builder.start().args(["ps", "--quiet", "--no-trunc", "--filter", &filter]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let ids: Vec<&str> = text.split_whitespace().collect();
    ensure!(ids.len() == HELD, "{} containers run, not {HELD}", ids.len());
    let mut bytes = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if ids.iter().any(|id| command.contains(id)) {
            bytes += resident(&entry.path());
        }
    }
    Ok(bytes)
}

/// Bytes that a process has in memory, shared ones included; none when it has ended.
fn resident(process: &Path) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Whether a workload has containers to clean up after.
pub(super) fn life(workload: &Workload) -> Option<Life> {
    match workload.action {
        super::workload::Action::Live(life) => Some(life),
        _ => None,
    }
}
