//! RUN.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bld_event::EventKind;
use bld_graph::{ExecOp, MountKind, Network, Security};
use bld_layer::View;
use bld_network::{Bridge, Endpoint, hosts_file, new_netns, resolv_conf, with_gateway};
use bld_sandbox::{
    Account, CgroupSpec, ExitStatus, Handle, Process, Resource, Rlimit, Root, Spec, Stdio, Traced,
};
use bld_store::Active;

use super::account;
use super::mask::Mask;
use super::mounts::Mounts;
use super::output::Output;
use crate::devices::Edits;
use crate::error::{MemoryLimit, StepFailure};
use crate::flight;
use crate::inspect::Scene;
use crate::solver::{Build, CGROUP_PREFIX};
use crate::traced;

/// Host name of a step that asks for none.
const HOSTNAME: &str = "buildkitsandbox";

/// Runs the process of `op` on the snapshot in preparation. Gives the layers that it read, if they
/// took note of that.
pub(super) fn run(
    build: &Build,
    index: usize,
    op: &ExecOp,
    active: &Active,
    log: &mut Option<PathBuf>,
) -> Result<Option<Traced>, StepFailure> {
    let mut place = Place::new(build, index, op, active)?;
    if traced::is_wanted(build, op) {
        place.traced = traced::layers(build, index, &lowers(build, active)?);
    }
    in_place(&place, log).inspect_err(|failure| {
        if let Some(log) = log {
            flight::tell(build, index, log, failure);
        }
        place.show(failure, false);
    })?;
    Ok(place.traced)
}

/// What lies below the snapshot in preparation, lowest first.
fn lowers(build: &Build, active: &Active) -> Result<Vec<PathBuf>, StepFailure> {
    let mount_points = build.env.store.mount_points(false)?;
    Ok(std::iter::once(mount_points).chain(active.layers().iter().cloned()).collect())
}

fn in_place(place: &Place<'_>, log: &mut Option<PathBuf>) -> Result<(), StepFailure> {
    let Place { build, index, op, .. } = *place;
    let (output, stdout, stderr) = Output::new(build, index, &mask(build, op), log)?;
    let stdin = File::open("/dev/null").map_err(StepFailure::io("open /dev/null"))?.into();
    let mut process = place.spawn(op.args.clone(), Stdio::Fds { stdin, stdout, stderr })?;
    let handle: Handle = process.handle();
    let _kill = build.cancel.on_cancel(move || {
        // A process that ended at this moment needs no killing.
        let _ = handle.kill_all();
    });
    output.forward(process.pidfd())?;
    let status = process.wait()?;
    drop(process);
    verdict(build, op, status)
}

/// Where the processes of a step run: everything that is set up for them and taken away with this.
pub(super) struct Place<'a> {
    build: &'a Build,
    index: usize,
    op: &'a ExecOp,
    active: &'a Active,
    account: Account,
    mounts: Mounts<'a>,
    secret_env: Vec<(String, String)>,
    devices: Edits,
    network: StepNetwork,
    traced: Option<Traced>,
}

impl<'a> Place<'a> {
    /// Sets up what `op`, of step `index`, asks for.
    pub(super) fn new(
        build: &'a Build,
        index: usize,
        op: &'a ExecOp,
        active: &'a Active,
    ) -> Result<Self, StepFailure> {
        let account = account(&View::new(active.layers().to_vec()), &op.user)?;
        let devices = build.env.devices.edits(&op.devices)?;
        for name in &devices.missing {
            let message = format!("there is no device {name:?}: the step runs without it");
            build.emit(index, EventKind::Warning { message, url: None });
        }
        let mut mounts = Mounts::new(build, index, active);
        let secret_env = mounts.add(op)?;
        let network = StepNetwork::new(build, op.network, active)?;
        let traced = None;
        Ok(Self { build, index, op, active, account, mounts, secret_env, devices, network, traced })
    }

    /// Starts a process. Only one at a time can run.
    fn spawn(&self, args: Vec<String>, stdio: Stdio) -> Result<Process, StepFailure> {
        // What a volatile mount leaves to forbid the next one: nothing has crashed in between.
        let _ = std::fs::remove_dir_all(self.active.work().join("work/incompat"));
        let lowers = match &self.traced {
            Some(traced) => traced.layers().to_vec(),
            None => lowers(self.build, self.active)?,
        };
        let root = Root::Overlay {
            lowers,
            upper: self.active.upper().to_owned(),
            work: self.active.work().to_owned(),
            volatile: true,
        };
        let (op, limits) = (self.op, &self.build.env.limits);
        let hostname = op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned());
        let hosts = with_gateway(&op.extra_hosts, self.network.gateway());
        let mut user = self.account.user.clone();
        user.groups.extend(&self.devices.groups);
        let mut spec = Spec::new(root, args);
        spec.env = self.environment(matches!(stdio, Stdio::Terminal { .. }));
        spec.cwd.clone_from(&op.cwd);
        spec.user = user;
        spec.hosts = Some(hosts_file(&hostname, self.network.address(), &hosts));
        spec.resolv_conf = Some(self.network.resolv_conf.clone());
        spec.hostname = Some(hostname);
        spec.mounts = self.mounts.all().iter().chain(&self.devices.mounts).cloned().collect();
        spec.devices.clone_from(&self.devices.nodes);
        spec.privileged = op.security == Security::Insecure;
        spec.rlimits = rlimits(self.build)?;
        if let Some(size) = limits.shm_size {
            spec.shm_size = size;
        }
        spec.cgroup = Some(CgroupSpec {
            name: format!("{CGROUP_PREFIX}{}", self.active.id()),
            parent: limits.cgroup_parent.clone(),
            within: self.build.group()?,
            limits: limits.resources.clone(),
            accounting: false,
        });
        spec.network = self.network.mode()?;
        spec.stdio = stdio;
        spec.caller_stays = true;
        Ok(bld_sandbox::spawn(spec)?)
    }

    /// Lets somebody look around after a failure, who sees what was there before if `is_before`.
    pub(super) fn show(&self, failure: &StepFailure, is_before: bool) {
        self.build.inspect(&Scene {
            name: &self.build.vertex(self.index).name,
            failure,
            is_before,
            shell: self.build.vertex(self.index).surroundings.shell(),
            spawn: &|args, stdio| self.spawn(args, stdio),
        });
    }

    /// The environment of a process: what the operation says, then what it does not set itself.
    fn environment(&self, has_terminal: bool) -> Vec<String> {
        let op = self.op;
        let pairs =
            |list: &'a [(String, String)]| list.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut env: Vec<(&str, &str)> = pairs(&op.env).collect();
        let home = [("HOME", self.account.home.as_str())];
        let terminal = has_terminal.then_some(("TERM", "xterm"));
        for (name, value) in pairs(&op.proxy_env).chain(home).chain(terminal) {
            if !env.iter().any(|(known, _)| *known == name) {
                env.push((name, value));
            }
        }
        for (name, value) in self.devices.env.iter().chain(&self.secret_env) {
            env.retain(|(known, _)| known != name);
            env.push((name, value));
        }
        env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// The secrets that the step can see.
fn mask(build: &Build, op: &ExecOp) -> Mask {
    Mask::new(op.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Secret { id, .. } => build.env.secrets.get(id).map(Vec::as_slice),
        _ => None,
    }))
}

fn verdict(build: &Build, op: &ExecOp, status: ExitStatus) -> Result<(), StepFailure> {
    if status.success() {
        return Ok(());
    }
    let command = op.args.join(" ");
    Err(match status {
        ExitStatus { oom_killed: true, .. } => {
            let of = |limits: &bld_sandbox::Limits, together| {
                limits.memory.map(|bytes| MemoryLimit { bytes, together })
            };
            let limits = &build.env.limits;
            // The smaller one is what the step ran into.
            let both = of(&limits.resources, false).into_iter().chain(of(&limits.together, true));
            StepFailure::OutOfMemory { command, limit: both.min_by_key(|limit| limit.bytes) }
        }
        ExitStatus { signal: Some(signal), .. } => StepFailure::Signal { command, signal },
        ExitStatus { code, .. } => StepFailure::Exit { command, code },
    })
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

    fn address(&self) -> Option<Ipv4Addr> {
        self.attached.as_ref().map(|(endpoint, _)| endpoint.ip)
    }

    /// By which address a process reaches the host.
    fn gateway(&self) -> Ipv4Addr {
        self.attached.as_ref().map_or(Ipv4Addr::LOCALHOST, |(endpoint, _)| endpoint.gateway)
    }

    fn mode(&self) -> Result<bld_sandbox::Network, StepFailure> {
        Ok(match (&self.attached, self.kind) {
            (Some((_, namespace)), _) => bld_sandbox::Network::Namespace(
                namespace
                    .try_clone()
                    .map_err(StepFailure::io("duplicate the network namespace"))?,
            ),
            (None, Network::Host) => bld_sandbox::Network::Host,
            (None, _) => bld_sandbox::Network::None,
        })
    }
}

/// Where systemd-resolved notes the real name servers when the host's own file names only its stub.
const UPSTREAM_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
