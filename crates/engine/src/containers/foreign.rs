//! Containers that another OCI runtime makes, `crun` or `runc` say, from a bundle that we write.
//!
//! `create` makes the container in mounts that nobody else sees (see [`bld_sandbox::on_stage`]), `start` lets it run.
//! Its first process becomes a child of whoever holds it, as with containers that are made here; so signals,
//! waiting, pausing, statistics and copying are the same for both. What the runtime keeps of a
//! container is below the container's directory, and taken away by the runtime's `delete`.

mod bundle;
mod console;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bld_network::new_netns;
use bld_sandbox::{
    ExecSpec, MountKind, Namespace, Network, Process, Root, Spec, show_below, take_orphans,
};
use serde::Deserialize;
use serde_json::Value;

use self::console::Console;
use super::model::Container;
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// Where a container's runtime has its files, in the container's directory.
const DIRECTORY: &str = "bundle";

/// A container of another runtime.
struct Foreign {
    program: PathBuf,
    /// The bundle, in which the runtime has its own records as well.
    dir: PathBuf,
    id: String,
}

/// A line of the runtime's log.
#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

impl Engine {
    /// The runtime of a container that is not made by us.
    fn foreign(&self, container: &Container) -> Result<Option<Foreign>> {
        let Some(program) = container.host.runtime.clone() else { return Ok(None) };
        let dir = self.container_dir(&container.id)?.join(DIRECTORY);
        Ok(Some(Foreign { program, dir, id: container.id.clone() }))
    }

    /// Starts a container, by whatever runtime it has.
    pub(super) fn spawn(&self, container: &Container, spec: Spec) -> Result<Process> {
        match self.foreign(container)? {
            Some(foreign) => foreign.spawn(container, spec),
            None => bld_sandbox::spawn(spec).map_err(|source| EngineError::Start { source }),
        }
    }

    /// Starts a command in a running container, whose first process is `pid`, likewise.
    pub(super) fn spawn_in(
        &self,
        container: &Container,
        pid: i32,
        spec: ExecSpec,
    ) -> Result<Process> {
        match self.foreign(container)? {
            Some(foreign) => foreign.exec(spec),
            None => bld_sandbox::exec_in(pid, spec).map_err(|source| EngineError::Start { source }),
        }
    }

    /// Has the runtime of a container that does not run forget it.
    pub(super) fn forget_foreign(&self, container: &Container) -> Result<()> {
        match self.foreign(container)? {
            Some(foreign) => foreign.forget(),
            None => Ok(()),
        }
    }
}

impl Foreign {
    fn spawn(&self, container: &Container, mut spec: Spec) -> Result<Process> {
        bundle::check(&spec)?;
        self.forget()?;
        let rootfs = self.dir.join("rootfs");
        fs::create_dir_all(&rootfs).at("create", &rootfs)?;
        let network = match std::mem::replace(&mut spec.network, Network::None) {
            Network::Host => None,
            Network::None => Some(new_netns()?),
            Network::Namespace(fd) => Some(fd),
        };
        let mut roots = vec![(spec.root.clone(), rootfs)];
        let mut sources = Vec::new();
        for (index, mount) in spec.mounts.iter().enumerate() {
            let MountKind::Layers { lowers, .. } = &mount.kind else { continue };
            let at = self.dir.join(format!("image{index}"));
            fs::create_dir_all(&at).at("create", &at)?;
            roots.push((Root::ReadOnly { lowers: lowers.clone() }, at.clone()));
            sources.push((index, at));
        }
        let outlives = !matches!(spec.pid, Namespace::Own);
        let launch =
            Launch::new(&self.dir, std::mem::replace(&mut spec.stdio, bld_sandbox::Stdio::Null))?;
        let create = || -> Result<()> {
            let mounts = self.sources(&spec, &sources)?;
            let config = bundle::config(container, &spec, &mounts, network.as_ref(), &launch)?;
            self.write("config.json", &config)?;
            let bundle = self.dir.to_string_lossy();
            self.create(&["create", "--bundle", bundle.as_ref()], &launch)
        };
        take_orphans().map_err(|source| EngineError::Start { source })?;
        let started = on_stage(&roots, create).and_then(|()| {
            let process = launch.finish(&self.dir, true, outlives)?;
            self.say(&["start", &self.id])?;
            Ok(process)
        });
        if started.is_err() {
            // Why it could not be started is what counts.
            let _kept = self.forget();
        }
        started
    }

    fn exec(&self, mut spec: ExecSpec) -> Result<Process> {
        let launch =
            Launch::new(&self.dir, std::mem::replace(&mut spec.stdio, bld_sandbox::Stdio::Null))?;
        let name = format!("process-{}.json", std::process::id());
        self.write(&name, &bundle::process_of(&spec, &launch))?;
        take_orphans().map_err(|source| EngineError::Start { source })?;
        let path = self.dir.join(&name);
        let process = path.to_string_lossy();
        let words = ["exec", "--detach", "--process", process.as_ref()];
        let started = on_stage(&[], || self.create(&words, &launch));
        // Left behind it goes with the container.
        let _left = fs::remove_file(&path);
        started.and_then(|()| launch.finish(&self.dir, false, false))
    }

    /// What a bind mount of each mount is made from, where it is one.
    fn sources(&self, spec: &Spec, images: &[(usize, PathBuf)]) -> Result<Vec<Option<PathBuf>>> {
        let below = |index: usize, dir: &Path, path: Option<&String>| -> Result<PathBuf> {
            let Some(path) = path else { return Ok(dir.to_owned()) };
            let at = self.dir.join(format!("part{index}"));
            show_below(dir, path, &at).at("mount", dir.join(path))?;
            Ok(at)
        };
        let mut sources = Vec::new();
        for (index, mount) in spec.mounts.iter().enumerate() {
            sources.push(match &mount.kind {
                MountKind::Bind { source, path, .. } => Some(below(index, source, path.as_ref())?),
                MountKind::Layers { path, .. } => {
                    let at = images.iter().find(|(image, _)| *image == index);
                    at.map(|(_, at)| below(index, at, path.as_ref())).transpose()?
                }
                MountKind::Tmpfs { .. } | MountKind::File { .. } => None,
            });
        }
        for (name, contents) in [
            ("resolv.conf", &spec.resolv_conf),
            ("hosts", &spec.hosts),
            ("hostname", &spec.hostname_file),
        ] {
            if let Some(contents) = contents {
                let path = self.dir.join(name);
                fs::write(&path, contents).at("write", &path)?;
            }
        }
        Ok(sources)
    }

    fn write(&self, name: &str, value: &Value) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, value.to_string()).at("write", &path)
    }

    /// Has the runtime make a process, which then is our child.
    fn create(&self, words: &[&str], launch: &Launch) -> Result<()> {
        let pid_file = launch.pid_file.to_string_lossy();
        let mut all = words.to_vec();
        all.extend(["--pid-file", pid_file.as_ref()]);
        let socket = launch.console.as_ref().map(Console::path);
        if let Some(socket) = &socket {
            all.extend(["--console-socket", socket.as_str()]);
        }
        all.push(&self.id);
        self.call(&all, launch.streams()?)
    }

    /// Calls the runtime for what starts nothing.
    fn say(&self, words: &[&str]) -> Result<()> {
        on_stage(&[], || self.call(words, [Stdio::null(), Stdio::null(), Stdio::null()]))
    }

    /// Calls the runtime, on a stage.
    fn call(&self, words: &[&str], [stdin, stdout, stderr]: [Stdio; 3]) -> Result<()> {
        let log = self.dir.join(format!("log-{}.json", std::process::id()));
        let forgotten = fs::remove_file(&log);
        if let Err(error) = forgotten
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).at("remove", &log);
        }
        let status = Command::new(&self.program)
            .arg("--root")
            .arg(self.dir.join("state"))
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"])
            .args(words)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .status()
            .at("run", &self.program)?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let said = lines.rfind(|line| line.level == "error").map(|line| line.msg);
        Err(EngineError::Runtime {
            program: self.program.clone(),
            message: said.unwrap_or_else(|| format!("{} ended with {status}", words[0])),
        })
    }

    /// Has the runtime take away what it has of the container, with what still runs in it.
    fn forget(&self) -> Result<()> {
        if self.dir.join("state").join(&self.id).exists() {
            self.say(&["delete", "--force", &self.id])?;
        }
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.at("remove", &self.dir),
        }
    }
}

/// As [`bld_sandbox::on_stage`], for work that may fail.
fn on_stage<T: Send>(
    roots: &[(Root, PathBuf)],
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    bld_sandbox::on_stage(roots, work).map_err(|source| EngineError::Start { source })?
}

/// What is handed over when a process is made.
struct Launch {
    pid_file: PathBuf,
    streams: Option<[OwnedFd; 3]>,
    console: Option<Console>,
}

impl Launch {
    fn new(dir: &Path, stdio: bld_sandbox::Stdio) -> Result<Self> {
        let pid_file = dir.join(format!("pid-{}", std::process::id()));
        let (streams, console) = match stdio {
            bld_sandbox::Stdio::Null => (None, None),
            bld_sandbox::Stdio::Fds { stdin, stdout, stderr } => {
                (Some([stdin, stdout, stderr]), None)
            }
            bld_sandbox::Stdio::Terminal { rows, columns } => {
                (None, Some(Console::open(dir, rows, columns)?))
            }
        };
        Ok(Self { pid_file, streams, console })
    }

    fn streams(&self) -> Result<[Stdio; 3]> {
        let Some([stdin, stdout, stderr]) = &self.streams else {
            return Ok([Stdio::null(), Stdio::null(), Stdio::null()]);
        };
        let twice = |fd: &OwnedFd| fd.try_clone().map(Stdio::from).at("duplicate", "a stream");
        Ok([twice(stdin)?, twice(stdout)?, twice(stderr)?])
    }

    /// The process that was made.
    fn finish(self, dir: &Path, first: bool, outlives: bool) -> Result<Process> {
        let terminal = self.console.map(|console| console.receive(dir)).transpose()?;
        let text = fs::read_to_string(&self.pid_file).at("read", &self.pid_file)?;
        let _left = fs::remove_file(&self.pid_file);
        let pid =
            text.trim().parse::<i32>().map_err(|_| std::io::Error::from(ErrorKind::InvalidData));
        let pid = pid.at("read", &self.pid_file)?;
        Process::adopt(pid, terminal, first, outlives)
            .map_err(|source| EngineError::Start { source })
    }
}
