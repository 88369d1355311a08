//! From a container's document to what the sandbox is asked.

use std::path::PathBuf;

use bld_layer::View;
use bld_oci::Digest;
use bld_sandbox::cgroup::{IoKind, IoRate};
use bld_sandbox::{
    Account, Capabilities, CgroupSpec, Device, Limits as CgroupLimits, MountKind, Namespace,
    Resource, Rlimit, Root, Shift, Spec, Stdio, lookup_user,
};

use super::ProcessId;
use super::create::set_env;
use super::model::{
    Container, HostConfig, Limits, Mount, MountSource, NetworkMode, Propagation, Sharing,
};
use super::network::Prepared;
use super::supervise::Held;
use crate::{Engine, EngineError, Result};

/// What images without a `PATH` get.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Account files larger than this are not account files.
const ACCOUNTS_LIMIT: u64 = 16 << 20;

/// What the names of all our control groups begin with.
pub(super) const CGROUP_PREFIX: &str = "bld-";

/// The control group of a container.
pub(super) fn cgroup_name(id: &str) -> String {
    format!("{CGROUP_PREFIX}{id}")
}

impl Engine {
    /// What the sandbox is asked for `container`, which is `held`.
    pub(super) fn spec(
        &self,
        container: &Container,
        held: &Held<'_>,
        network: Prepared,
        stdio: Stdio,
    ) -> Result<Spec> {
        let layer = &held.layer;
        let (config, host) = (&container.config, &container.host);
        let hostname = match host.network {
            _ if host.host_uts => None,
            NetworkMode::Host => None,
            _ => Some(host.hostname.clone()),
        };
        let mut sysctls: Vec<_> = host.sysctls.clone().into_iter().collect();
        if !host.domainname.is_empty() {
            sysctls.push(("kernel.domainname".to_owned(), host.domainname.clone()));
        }
        let mount_points = self.store()?.mount_points(hostname.is_some())?;
        let mut stack = layer.layers().to_vec();
        let root = Root::Overlay {
            lowers: std::iter::once(mount_points).chain(stack.iter().cloned()).collect(),
            upper: layer.upper().to_owned(),
            work: layer.work().to_owned(),
            // What is thrown away at the end need not reach the disk.
            volatile: host.auto_remove,
        };
        stack.push(layer.upper().to_owned());
        let account = account(&View::new(stack), &config.user, &host.groups)?;
        let mounts: Result<Vec<_>> =
            container.mounts.iter().map(|mount| self.mount(mount)).collect();
        Ok(Spec {
            env: environment(container, host.tty, &account.home),
            cwd: if config.working_dir.is_empty() {
                "/".to_owned()
            } else {
                config.working_dir.clone()
            },
            user: account.user,
            hostname_file: hostname.as_ref().map(|name| format!("{name}\n").into_bytes()),
            hostname,
            mounts: mounts?,
            capabilities: capabilities(host)?,
            seccomp: super::security::seccomp(host, capabilities(host)?)?,
            no_new_privileges: no_new_privileges(host),
            privileged: host.privileged,
            read_only_root: host.read_only,
            rlimits: rlimits(host)?,
            sysctls,
            pid: self.namespace(&host.pid, "PID")?,
            host_uts: host.host_uts,
            ipc: self.namespace(&host.ipc, "IPC")?,
            devices: host.devices.iter().map(device).collect(),
            shm_size: host.shm_size.unwrap_or(64 << 20),
            network: network.network,
            cgroup: Some(CgroupSpec {
                name: cgroup_name(&container.id),
                parent: None,
                within: None,
                limits: limits(&host.limits).within_rights().0,
                accounting: held.is_counted,
            }),
            stdio,
            resolv_conf: Some(network.resolv_conf),
            hosts: Some(network.hosts),
            init: host.init,
            caller_stays: true,
            oom_score_adj: host.oom_score_adj,
            ids: host.ids.map(|(first, count)| Shift { first, count }),
            ..Spec::new(root, container.command())
        })
    }

    fn mount(&self, mount: &Mount) -> Result<bld_sandbox::Mount> {
        let read_only = mount.read_only;
        let kind = match &mount.source {
            MountSource::Bind { path, propagation: wanted, shallow, .. } => MountKind::Bind {
                source: path.clone(),
                path: None,
                read_only,
                recursive: !shallow,
                propagation: propagation(*wanted),
                own: false,
            },
            MountSource::Volume { name, subpath, .. } => MountKind::Bind {
                source: self.volume(name)?.data,
                path: subpath.clone(),
                read_only,
                recursive: true,
                propagation: bld_sandbox::Propagation::Private,
                own: true,
            },
            MountSource::Tmpfs { size, mode, owner: (uid, gid), exec } => MountKind::Tmpfs {
                size: *size,
                mode: *mode,
                uid: *uid,
                gid: *gid,
                no_exec: !exec,
                read_only,
            },
            MountSource::Image { name, id, subpath } => {
                MountKind::Layers { lowers: self.image_layers(name, *id)?, path: subpath.clone() }
            }
        };
        Ok(bld_sandbox::Mount { kind, target: mount.target.clone() })
    }

    /// The namespace that is meant, of the kind that messages call `what`.
    fn namespace(&self, sharing: &Sharing, what: &'static str) -> Result<Namespace> {
        let id = match sharing {
            Sharing::Own | Sharing::Shareable => return Ok(Namespace::Own),
            Sharing::Host => return Ok(Namespace::Host),
            Sharing::Container(id) => id,
        };
        let donor = self.find_container(id)?;
        let process = donor.state.process.filter(|_| donor.state.is_running());
        let first = process.and_then(ProcessId::open);
        let stopped = || EngineError::JoinStopped { what, container: donor.id.clone() };
        first.map(Namespace::Of).ok_or_else(stopped)
    }

    /// The layers of an image that is mounted, lowest first.
    pub(super) fn image_layers(&self, name: &str, id: Option<Digest>) -> Result<Vec<PathBuf>> {
        let image = self.find_image(&id.map_or_else(|| name.to_owned(), |id| id.to_string()))?;
        let snapshot = image.snapshot.ok_or(EngineError::NoSuchImage { name: name.to_owned() })?;
        Ok(self.store()?.layers(snapshot)?)
    }
}

fn propagation(wanted: Propagation) -> bld_sandbox::Propagation {
    match wanted {
        Propagation::RPrivate | Propagation::Private => bld_sandbox::Propagation::Private,
        Propagation::RSlave | Propagation::Slave => bld_sandbox::Propagation::Slave,
        Propagation::RShared | Propagation::Shared => bld_sandbox::Propagation::Shared,
    }
}

/// Whom `user` names, with further `groups`, by the account files of a root filesystem.
pub(super) fn account(root: &View, user: &str, groups: &[String]) -> Result<Account> {
    let read = |path: &str| {
        root.read(path, ACCOUNTS_LIMIT)
            .map_err(|source| EngineError::Tree { path: PathBuf::from(path), source })
    };
    let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
    let mut account = lookup_user(user, passwd.as_deref(), group.as_deref())?;
    for name in groups {
        let found = lookup_user(&format!("0:{name}"), passwd.as_deref(), group.as_deref())?;
        if !account.user.groups.contains(&found.user.gid) {
            account.user.groups.push(found.user.gid);
        }
    }
    Ok(account)
}

/// The environment of a process whose user's home is `home`.
pub(super) fn environment(container: &Container, tty: bool, home: &str) -> Vec<String> {
    let mut env =
        vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", container.host.hostname)];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for variable in &container.config.env {
        if let Some((name, value)) = variable.split_once('=') {
            set_env(&mut env, name, Some(value));
        }
    }
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// `--security-opt no-new-privileges`
pub(super) fn no_new_privileges(host: &HostConfig) -> bool {
    const SPELLINGS: [&str; 3] =
        ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
    host.security_opt.iter().any(|option| SPELLINGS.contains(&option.as_str()))
}

/// Docker's default set with what was added and dropped.
pub(super) fn capabilities(host: &HostConfig) -> Result<Capabilities> {
    let parse = |name: &String| {
        Capabilities::parse(name)
            .ok_or_else(|| EngineError::Invalid { what: format!("invalid capability: {name:?}") })
    };
    // As docker: `ALL` first, then single ones, so that `--cap-add ALL --cap-drop X` is all but X.
    let (mut added, mut dropped) = (Capabilities::NONE, Capabilities::NONE);
    for name in &host.cap_add {
        added = added.add(parse(name)?);
    }
    for name in &host.cap_drop {
        dropped = dropped.add(parse(name)?);
    }
    Ok(if dropped == Capabilities::ALL {
        added
    } else {
        Capabilities::docker().add(added).drop(dropped)
    })
}

/// `--ulimit`
pub(super) fn rlimits(host: &HostConfig) -> Result<Vec<Rlimit>> {
    let limit = |(name, soft, hard): &(String, u64, u64)| {
        let resource = Resource::from_name(name)
            .ok_or_else(|| EngineError::Invalid { what: format!("invalid ulimit type: {name}") })?;
        Ok(Rlimit { resource, soft: *soft, hard: *hard })
    };
    host.ulimits.iter().map(limit).collect()
}

fn device(device: &super::model::DeviceMapping) -> Device {
    Device {
        source: device.source.clone(),
        target: device.target.clone(),
        read: device.permissions.contains('r'),
        write: device.permissions.contains('w'),
        mknod: device.permissions.contains('m'),
    }
}

fn rate(rate: &super::model::IoRate) -> IoRate {
    let kind = match rate.kind {
        super::model::IoKind::ReadBytes => IoKind::ReadBytes,
        super::model::IoKind::WriteBytes => IoKind::WriteBytes,
        super::model::IoKind::Reads => IoKind::Reads,
        super::model::IoKind::Writes => IoKind::Writes,
    };
    IoRate { device: rate.device.clone(), kind, rate: rate.rate }
}

/// What of `limits` is not set, as an ordinary user was not handed the control groups for it.
pub fn without_rights(wanted: &Limits) -> Vec<&'static str> {
    limits(wanted).within_rights().1
}

/// What the sandbox is told of limits.
pub(crate) fn limits(limits: &Limits) -> CgroupLimits {
    let cgroup = CgroupLimits {
        memory: limits.memory,
        // Docker gives as much swap as memory when only memory is said.
        memory_swap: limits.memory_swap,
        memory_reservation: limits.memory_reservation,
        pids: limits.pids,
        cpu_quota: limits.cpu_quota,
        cpu_period: limits.cpu_period,
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        io_weight: limits.io_weight,
        io_rates: limits.io_rates.iter().map(rate).collect(),
    };
    match limits.nano_cpus {
        Some(nanos) => cgroup.cpus(nanos as f64 / 1e9),
        None => cgroup,
    }
}
