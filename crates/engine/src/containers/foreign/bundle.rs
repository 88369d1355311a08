//! What is asked of the sandbox as the `config.json` of the OCI runtime specification.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bld_sandbox::cgroup::{IoKind, path_for};
use bld_sandbox::{
    Capabilities, Device, ExecSpec, MountKind, Namespace, Propagation, Rlimit, Seccomp, Spec, User,
    Verdict, default_rules, hidden_paths,
};
use rustix::fs::{major, minor};
use serde_json::{Map, Value, json};

use super::Launch;
use crate::containers::model::Container;
use crate::containers::spec::cgroup_name;
use crate::error::IoContext as _;
use crate::{EngineError, Result};

/// The version of the specification that is written.
const VERSION: &str = "1.0.2";

/// Refuses what can't be had of another runtime.
pub(super) fn check(spec: &Spec) -> Result<()> {
    let passes = |mount: &bld_sandbox::Mount| matches!(&mount.kind, MountKind::Bind { propagation, .. } if *propagation != Propagation::Private);
    let what = if spec.init {
        "an init (--init)"
    } else if matches!(spec.ipc, Namespace::Of(_)) {
        "the shared memory of another container (--ipc container:NAME)"
    } else if spec.mounts.iter().any(passes) {
        "a mount that passes on what is mounted later (bind-propagation)"
    } else if matches!(spec.seccomp, Seccomp::Profile(_)) {
        "a seccomp profile (--security-opt seccomp=FILE)"
    } else {
        return Ok(());
    };
    Err(EngineError::RuntimeLacks { what })
}

/// The configuration of a container. `sources` are those of its mounts, one for each.
pub(super) fn config(
    container: &Container,
    spec: &Spec,
    sources: &[Option<PathBuf>],
    network: Option<&OwnedFd>,
    launch: &Launch,
) -> Result<Value> {
    let all = if spec.privileged { Capabilities::ALL } else { spec.capabilities };
    let filtered = !spec.privileged && spec.seccomp == Seccomp::Default;
    let (masked, read_only) = if spec.privileged { Default::default() } else { hidden_paths() };
    let sysctls: Map<String, Value> =
        spec.sysctls.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let devices = devices(spec)?;
    let mut config = json!({
        "ociVersion": VERSION,
        "process": process(&Asked {
            args: &spec.args,
            env: &spec.env,
            cwd: &spec.cwd,
            user: &spec.user,
            capabilities: all,
            rlimits: &spec.rlimits,
            no_new_privileges: spec.no_new_privileges,
        }, launch),
        "root": {"path": "rootfs", "readonly": spec.read_only_root},
        "mounts": mounts(spec, sources)?,
        "annotations": container.host.annotations,
        "linux": {
            "namespaces": namespaces(spec, network),
            "sysctl": sysctls,
            "cgroupsPath": path_for(&cgroup_name(&container.id))
                .map_err(|source| EngineError::Cgroup { source })?,
            "resources": resources(spec, &devices)?,
            "devices": devices,
            "maskedPaths": masked,
            "readonlyPaths": read_only,
        },
    });
    if let Some(hostname) = &spec.hostname {
        config["hostname"] = json!(hostname);
    }
    if let Some(score) = spec.oom_score_adj {
        config["process"]["oomScoreAdj"] = json!(score);
    }
    if filtered {
        config["linux"]["seccomp"] = seccomp(all);
    }
    Ok(config)
}

/// What is to run in a container that runs.
pub(super) fn process_of(spec: &ExecSpec, launch: &Launch) -> Value {
    let asked = Asked {
        args: &spec.args,
        env: &spec.env,
        cwd: &spec.cwd,
        user: &spec.user,
        capabilities: if spec.privileged { Capabilities::ALL } else { spec.capabilities },
        rlimits: &spec.rlimits,
        no_new_privileges: spec.no_new_privileges,
    };
    process(&asked, launch)
}

/// What is said of a process, the first one or another.
struct Asked<'a> {
    args: &'a [String],
    env: &'a [String],
    cwd: &'a str,
    user: &'a User,
    capabilities: Capabilities,
    rlimits: &'a [Rlimit],
    no_new_privileges: bool,
}

fn process(asked: &Asked<'_>, launch: &Launch) -> Value {
    let names: Vec<String> = asked.capabilities.names().collect();
    // Whoever is not root begins without any, as execve(2) has it.
    let own = if asked.user.uid == 0 { names.clone() } else { Vec::new() };
    let rlimits = asked.rlimits.iter().map(|limit| {
        let name = format!("RLIMIT_{:?}", limit.resource).to_uppercase();
        json!({"type": name, "soft": limit.soft, "hard": limit.hard})
    });
    let mut process = json!({
        "terminal": launch.console.is_some(),
        "user": {
            "uid": asked.user.uid,
            "gid": asked.user.gid,
            "additionalGids": asked.user.groups,
        },
        "args": asked.args,
        "env": asked.env,
        "cwd": asked.cwd,
        "capabilities": {
            "bounding": names,
            "effective": own,
            "permitted": own,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": rlimits.collect::<Vec<_>>(),
        "noNewPrivileges": asked.no_new_privileges,
    });
    if let Some(console) = &launch.console {
        process["consoleSize"] = json!({"height": console.rows, "width": console.columns});
    }
    process
}

fn namespaces(spec: &Spec, network: Option<&OwnedFd>) -> Vec<Value> {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    let by_descriptor =
        |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    if let Some(fd) = network {
        namespaces.push(json!({"type": "network", "path": by_descriptor(fd)}));
    }
    match &spec.pid {
        Namespace::Own => namespaces.push(json!({"type": "pid"})),
        Namespace::Host => {}
        Namespace::Of(process) => {
            let pid = pid_of(process).unwrap_or_default();
            namespaces.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")}));
        }
    }
    if matches!(spec.ipc, Namespace::Own) {
        namespaces.push(json!({"type": "ipc"}));
    }
    if !spec.host_uts {
        namespaces.push(json!({"type": "uts"}));
    }
    namespaces
}

/// The number of the process that a descriptor stands for; see pidfd_open(2).
fn pid_of(process: &OwnedFd) -> Option<i32> {
    let about = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let text = fs::read_to_string(about).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

fn mounts(spec: &Spec, sources: &[Option<PathBuf>]) -> Result<Vec<Value>> {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let writable = if spec.privileged { "rw" } else { "ro" };
    let system = ["nosuid", "noexec", "nodev", writable];
    let harmless = ["nosuid", "noexec", "nodev"];
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut all = vec![
        mount("/proc", "proc", "proc", &harmless),
        mount("/dev", "tmpfs", "tmpfs", &dev),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/sys", "sysfs", "sysfs", &system),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &system),
        mount("/dev/mqueue", "mqueue", "mqueue", &harmless),
    ];
    let size = format!("size={}", spec.shm_size);
    all.push(match spec.ipc {
        Namespace::Host => mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"]),
        _ => mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]),
    });
    for (name, wanted) in [
        ("resolv.conf", &spec.resolv_conf),
        ("hosts", &spec.hosts),
        ("hostname", &spec.hostname_file),
    ] {
        if wanted.is_some() {
            // Relative to the bundle.
            let target = format!("/etc/{name}");
            all.push(mount(&target, "bind", name, &["bind", "rprivate"]));
        }
    }
    for (wish, source) in spec.mounts.iter().zip(sources) {
        let target = wish.target.as_str();
        let source = source.as_deref().map(Path::to_string_lossy).unwrap_or_default();
        all.push(match &wish.kind {
            MountKind::Bind { read_only, recursive, .. } => {
                let bind = if *recursive { "rbind" } else { "bind" };
                let access = if *read_only { "ro" } else { "rw" };
                mount(target, "bind", &source, &[bind, "rprivate", access])
            }
            MountKind::Layers { .. } => mount(target, "bind", &source, &["bind", "rprivate", "ro"]),
            MountKind::Tmpfs { size, mode, uid, gid, no_exec, read_only } => {
                let mut options = vec![
                    "nosuid".to_owned(),
                    "nodev".to_owned(),
                    format!("mode={mode:o}"),
                    format!("uid={uid}"),
                    format!("gid={gid}"),
                ];
                options.extend(size.map(|size| format!("size={size}")));
                options.extend(no_exec.then(|| "noexec".to_owned()));
                options.extend(read_only.then(|| "ro".to_owned()));
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                mount(target, "tmpfs", "tmpfs", &options)
            }
            MountKind::File { .. } => {
                return Err(EngineError::RuntimeLacks { what: "a file in memory" });
            }
        });
    }
    Ok(all)
}

/// The devices a container is given beside the usual ones: with all rights, those of the host.
fn devices(spec: &Spec) -> Result<Vec<Value>> {
    if spec.privileged {
        let mut found = Vec::new();
        host_devices(Path::new("/dev"), &mut found);
        return Ok(found);
    }
    let given = spec.devices.iter().map(|Device { source, target, .. }| {
        let found = device(source, target).at("look at", source)?;
        found.ok_or_else(|| EngineError::Invalid {
            what: format!(
                "error gathering device information: {} is not a device",
                source.display()
            ),
        })
    });
    given.collect()
}

fn host_devices(dir: &Path, found: &mut Vec<Value>) {
    // What the container has of its own.
    const OWN: [&str; 7] = ["pts", "shm", "mqueue", "fd", "console", "ptmx", "core"];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => host_devices(&path, found),
            // One that has gone meanwhile is none.
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                found.extend(device(&path, &path.to_string_lossy()).ok().flatten());
            }
            _ => {}
        }
    }
}

fn device(source: &Path, target: &str) -> std::io::Result<Option<Value>> {
    let about = fs::metadata(source)?;
    let kind = match about.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Ok(None),
    };
    Ok(Some(json!({
        "path": target,
        "type": kind,
        "major": major(about.rdev()),
        "minor": minor(about.rdev()),
        "fileMode": about.mode() & 0o7777,
        "uid": about.uid(),
        "gid": about.gid(),
    })))
}

fn resources(spec: &Spec, devices: &[Value]) -> Result<Value> {
    let mut rules = vec![json!({"allow": spec.privileged, "access": "rwm"})];
    for (given, device) in spec.devices.iter().zip(devices).filter(|_| !spec.privileged) {
        let access: String = [(given.read, 'r'), (given.write, 'w'), (given.mknod, 'm')]
            .into_iter()
            .filter_map(|(allowed, letter)| allowed.then_some(letter))
            .collect();
        let (kind, major, minor) = (&device["type"], &device["major"], &device["minor"]);
        rules.push(json!({
            "allow": true, "type": kind, "major": major, "minor": minor, "access": access,
        }));
    }
    let mut resources = json!({"devices": rules});
    let Some(limits) = spec.cgroup.as_ref().map(|group| &group.limits) else {
        return Ok(resources);
    };
    let parts = [
        ("memory", "limit", limits.memory.map(|bytes| json!(bytes))),
        // As much again for swapping, unless something else is said.
        (
            "memory",
            "swap",
            limits
                .memory_swap
                .map(|bytes| json!(bytes))
                .or(limits.memory.map(|bytes| json!(bytes.saturating_mul(2)))),
        ),
        ("memory", "reservation", limits.memory_reservation.map(|bytes| json!(bytes))),
        ("cpu", "shares", limits.cpu_shares.map(|shares| json!(shares))),
        ("cpu", "quota", limits.cpu_quota.map(|quota| json!(quota))),
        ("cpu", "period", limits.cpu_period.map(|period| json!(period))),
        ("cpu", "cpus", limits.cpuset_cpus.as_ref().map(|cpus| json!(cpus))),
        ("cpu", "mems", limits.cpuset_mems.as_ref().map(|mems| json!(mems))),
        ("pids", "limit", limits.pids.map(|pids| json!(pids))),
        ("blockIO", "weight", limits.io_weight.map(|weight| json!(weight))),
    ];
    for (part, name, value) in parts {
        if let Some(value) = value {
            resources[part][name] = value;
        }
    }
    for rate in &limits.io_rates {
        let name = match rate.kind {
            IoKind::ReadBytes => "throttleReadBpsDevice",
            IoKind::WriteBytes => "throttleWriteBpsDevice",
            IoKind::Reads => "throttleReadIOPSDevice",
            IoKind::Writes => "throttleWriteIOPSDevice",
        };
        let device = fs::metadata(&rate.device).at("look at", &rate.device)?.rdev();
        let entry = json!({"major": major(device), "minor": minor(device), "rate": rate.rate});
        match &mut resources["blockIO"][name] {
            Value::Array(rates) => rates.push(entry),
            none => *none = json!([entry]),
        }
    }
    Ok(resources)
}

/// The filter of a container with these capabilities.
fn seccomp(capabilities: Capabilities) -> Value {
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"];
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
    let (mut allowed, mut others) = (Vec::new(), Vec::new());
    for (name, verdict) in default_rules(capabilities) {
        match verdict {
            Verdict::Allow => allowed.push(name),
            Verdict::AllowIf { mask, value } => others.push(json!({
                "names": [name],
                "action": "SCMP_ACT_ALLOW",
                "args": [{
                    "index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ",
                }],
            })),
            Verdict::Missing => others.push(json!({
                "names": [name],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": rustix::io::Errno::NOSYS.raw_os_error(),
            })),
        }
    }
    let mut syscalls = vec![json!({"names": allowed, "action": "SCMP_ACT_ALLOW"})];
    syscalls.append(&mut others);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": rustix::io::Errno::PERM.raw_os_error(),
        "architectures": ARCHITECTURES,
        "syscalls": syscalls,
    })
}
