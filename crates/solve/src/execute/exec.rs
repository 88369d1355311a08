//! RUN.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use bld_event::{EventKind, Stream};
use bld_graph::{ExecOp, Network, Security};
use bld_layer::View;
use bld_network::{Bridge, Endpoint, hosts_file, new_netns, resolv_conf};
use bld_sandbox::{CgroupSpec, ExitStatus, Handle, Resource, Rlimit, Root, Spec, Stdio};
use bld_store::Active;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};

use super::account;
use super::mounts::Mounts;
use crate::error::StepFailure;
use crate::solver::{Build, CGROUP_PREFIX};

/// Host name of a step that asks for none.
const HOSTNAME: &str = "buildkitsandbox";

/// Runs the process of `op` on the snapshot in preparation.
pub(super) fn run(
    build: &Build,
    index: usize,
    op: &ExecOp,
    active: &Active,
    log: &mut Option<PathBuf>,
) -> Result<(), StepFailure> {
    let root = View::new(active.layers().to_vec());
    let account = account(&root, &op.user)?;
    let mut mounts = Mounts::new(build, index, active);
    let secret_env = mounts.add(op)?;

    let hostname = op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned());
    let network = StepNetwork::new(build, op.network, active)?;
    let (out_read, out_write) = pipe()?;
    let (err_read, err_write) = pipe()?;
    let mut spec = Spec::new(
        Root::Overlay {
            lowers: active.layers().to_vec(),
            upper: active.upper().to_owned(),
            work: active.work().to_owned(),
            volatile: true,
        },
        op.args.iter().cloned(),
    );
    spec.env = environment(op, &account.home, &secret_env);
    spec.cwd.clone_from(&op.cwd);
    spec.user = account.user;
    spec.hosts = Some(hosts_file(&hostname, network.address(), &op.extra_hosts));
    spec.resolv_conf = Some(network.resolv_conf.clone());
    spec.hostname = Some(hostname);
    spec.mounts = mounts.take();
    spec.privileged = op.security == Security::Insecure;
    spec.rlimits = rlimits(build)?;
    if let Some(size) = build.env.limits.shm_size {
        spec.shm_size = size;
    }
    spec.cgroup = Some(CgroupSpec {
        name: format!("{CGROUP_PREFIX}{}", active.id()),
        ..CgroupSpec::default()
    });
    spec.network = network.mode()?;
    spec.stdio = Stdio::Fds {
        stdin: File::open("/dev/null").map_err(io("open /dev/null"))?.into(),
        stdout: out_write,
        stderr: err_write,
    };

    let mut output = Output::new(build, index, log)?;
    let mut process = bld_sandbox::spawn(spec)?;
    let handle: Handle = process.handle();
    let _kill = build.cancel.on_cancel(move || {
        // A process that ended at this moment needs no killing.
        let _ = handle.kill_all();
    });
    output.forward([(out_read, Stream::Stdout), (err_read, Stream::Stderr)], process.pidfd())?;
    let status = process.wait()?;
    drop(network);
    drop(mounts);
    verdict(op, status)
}

fn verdict(op: &ExecOp, status: ExitStatus) -> Result<(), StepFailure> {
    if status.success() {
        return Ok(());
    }
    let command = op.args.join(" ");
    Err(match status {
        ExitStatus { oom_killed: true, .. } => StepFailure::OutOfMemory { command },
        ExitStatus { signal: Some(signal), .. } => StepFailure::Signal { command, signal },
        ExitStatus { code, .. } => StepFailure::Exit { command, code },
    })
}

/// The environment of the process: what the operation says, then what it does not set itself.
fn environment(op: &ExecOp, home: &str, secrets: &[(String, String)]) -> Vec<String> {
    let mut env: Vec<(&str, &str)> = op.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let defaults =
        op.proxy_env.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain([("HOME", home)]);
    for (name, value) in defaults {
        if !env.iter().any(|(known, _)| *known == name) {
            env.push((name, value));
        }
    }
    for (name, value) in secrets {
        env.retain(|(known, _)| known != name);
        env.push((name, value));
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn rlimits(build: &Build) -> Result<Vec<Rlimit>, StepFailure> {
    let limits = build.env.limits.ulimits.iter().map(|(name, soft, hard)| {
        let resource = Resource::from_name(name).ok_or_else(|| {
            StepFailure::Unsupported(format!("there is no resource limit {name:?}"))
        })?;
        Ok(Rlimit { resource, soft: *soft, hard: *hard })
    });
    limits.collect()
}

/// What network a step has.
///
/// The namespace has no name, and the interface in it no owner but the namespace: both are gone
/// with the last descriptor and process, however those end. Taking the interface away by hand would
/// only make the step wait for the kernel (15 ms).
struct StepNetwork {
    resolv_conf: Vec<u8>,
    kind: Network,
    attached: Option<(Endpoint, OwnedFd)>,
}

impl StepNetwork {
    fn new(build: &Build, kind: Network, active: &Active) -> Result<Self, StepFailure> {
        let setup = &build.env.network;
        let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        if kind != Network::Default {
            let resolv_conf = if kind == Network::Host { host } else { resolv_conf(&host, None) };
            return Ok(Self { resolv_conf, kind, attached: None });
        }
        let upstream = std::fs::read(UPSTREAM_RESOLV_CONF).ok();
        let resolv_conf = resolv_conf(&host, upstream.as_deref());
        let bridge = Bridge::ensure(&setup.bridge, &setup.state)?;
        let namespace = new_netns()?;
        let endpoint = bridge.attach(namespace.as_fd(), &active.id().to_string())?;
        Ok(Self { resolv_conf, kind, attached: Some((endpoint, namespace)) })
    }

    fn address(&self) -> Option<std::net::Ipv4Addr> {
        self.attached.as_ref().map(|(endpoint, _)| endpoint.ip)
    }

    fn mode(&self) -> Result<bld_sandbox::Network, StepFailure> {
        Ok(match (&self.attached, self.kind) {
            (Some((_, namespace)), _) => bld_sandbox::Network::Namespace(
                namespace.try_clone().map_err(io("duplicate the network namespace"))?,
            ),
            (None, Network::Host) => bld_sandbox::Network::Host,
            (None, _) => bld_sandbox::Network::None,
        })
    }
}

/// Where systemd-resolved notes the real name servers when the host's own file names only its stub.
const UPSTREAM_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

fn pipe() -> Result<(OwnedFd, OwnedFd), StepFailure> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| io("make a pipe")(error.into()))
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> StepFailure {
    move |source| StepFailure::Io { what: what.to_owned(), source }
}

/// Where the output of a step goes: to the event stream, and whole into a file.
struct Output<'a> {
    build: &'a Build,
    index: usize,
    file: File,
}

/// Bytes read from a pipe at once; a pipe holds no more.
const CHUNK: usize = 64 << 10;

impl<'a> Output<'a> {
    fn new(build: &'a Build, index: usize, log: &mut Option<PathBuf>) -> Result<Self, StepFailure> {
        static STARTED: OnceLock<String> = OnceLock::new();
        let session = STARTED.get_or_init(|| {
            format!("{}-{}", jiff::Timestamp::now().as_millisecond(), std::process::id())
        });
        let dir = build.env.store.logs_dir().join(session);
        let path = dir.join(format!("{}.log", build.steps[index].id));
        let file =
            std::fs::create_dir_all(&dir).and_then(|()| File::create(&path)).map_err(|source| {
                StepFailure::Io { what: format!("create {}", path.display()), source }
            })?;
        *log = Some(path);
        Ok(Self { build, index, file })
    }

    /// Passes on what arrives until the process has ended and both pipes are drained. A background
    /// process that keeps a pipe open does not keep the step from ending.
    fn forward(
        &mut self,
        pipes: [(OwnedFd, Stream); 2],
        ended: impl AsFd,
    ) -> Result<(), StepFailure> {
        let mut open: Vec<(OwnedFd, Stream)> = pipes.into();
        let mut buffer = vec![0; CHUNK];
        while !open.is_empty() {
            let mut polled: Vec<PollFd<'_>> =
                open.iter().map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN)).collect();
            polled.push(PollFd::new(&ended, PollFlags::IN));
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(io("wait for output")(error.into())),
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let over = ready[open.len()];
            let mut read_any = false;
            let mut position = 0;
            let mut failure = None;
            open.retain(|(pipe, stream)| {
                let is_ready = ready[position];
                position += 1;
                if !is_ready || failure.is_some() {
                    return true;
                }
                match read(pipe, &mut buffer) {
                    Ok(0) => false,
                    Ok(length) => {
                        read_any = true;
                        failure = self.write(*stream, &buffer[..length]).err();
                        true
                    }
                    Err(Errno::INTR) => true,
                    Err(_) => false,
                }
            });
            if let Some(failure) = failure {
                return Err(failure);
            }
            if over && !read_any {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, stream: Stream, data: &[u8]) -> Result<(), StepFailure> {
        self.file.write_all(data).map_err(io("write the log of the step"))?;
        self.build.emit(self.index, EventKind::Log { stream, data: data.to_vec() });
        Ok(())
    }
}
