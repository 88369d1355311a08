//! `container inspect`

use std::collections::BTreeMap;
use std::path::Path;

use bld_engine::containers::{
    Attachment, Container, Endpoint, Health, HostConfig, IoKind, Limits, Mount, MountSource,
    NetworkMode, Published, Sharing, Status,
};

use crate::output::ports;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A container in docker's form.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    id: String,
    created: String,
    path: String,
    args: Vec<String>,
    state: State,
    image: String,
    resolv_conf_path: &'static str,
    hostname_path: &'static str,
    hosts_path: &'static str,
    log_path: String,
    name: String,
    restart_count: u32,
    driver: &'static str,
    platform: String,
    mount_label: &'static str,
    process_label: &'static str,
    app_armor_profile: &'static str,
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    host_config: Value,
    graph_driver: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    mounts: Vec<Value>,
    config: Value,
    network_settings: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: &'static str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    pid: i32,
    exit_code: i32,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Value>,
    started_at: String,
    finished_at: String,
}

/// The document of a container. `mountpoints` are the places of its volumes, by mount; `sizes` its
/// own and its whole size in bytes.
pub(crate) fn document(
    container: &Container,
    log: &Path,
    mountpoints: &[String],
    sizes: Option<(u64, u64)>,
) -> Document {
    let command = container.command();
    let state = &container.state;
    let running = state.is_running();
    let mounts =
        container.mounts.iter().zip(mountpoints).map(|(mount, place)| mount_point(mount, place));
    Document {
        id: container.id.clone(),
        created: super::time(container.created),
        path: command.first().cloned().unwrap_or_default(),
        args: command.into_iter().skip(1).collect(),
        state: State {
            status: state.status.name(),
            running,
            paused: state.status == Status::Paused,
            restarting: state.status == Status::Restarting,
            oom_killed: state.oom_killed,
            dead: false,
            pid: state.process.filter(|_| running).map_or(0, |process| process.pid),
            exit_code: if running && state.status != Status::Restarting {
                0
            } else {
                state.exit_code
            },
            error: state.error.clone(),
            health: state.health.as_ref().map(health),
            started_at: super::maybe_time(state.started),
            finished_at: super::maybe_time(state.finished),
        },
        image: container.image.to_string(),
        resolv_conf_path: "",
        hostname_path: "",
        hosts_path: "",
        log_path: log.display().to_string(),
        name: format!("/{}", container.name),
        restart_count: container.restarts,
        driver: "overlay2",
        platform: container.platform.split('/').next().unwrap_or("linux").to_owned(),
        mount_label: "",
        process_label: "",
        app_armor_profile: "",
        exec_ids: None,
        host_config: host_config(container),
        graph_driver: json!({"Name": "overlay2", "Data": {}}),
        size_rw: sizes.map(|(own, _)| own),
        size_root_fs: sizes.map(|(_, whole)| whole),
        mounts: mounts.collect(),
        config: config(container),
        network_settings: network_settings(container),
    }
}

fn health(health: &Health) -> Value {
    let probes = health.log.iter().map(|probe| {
        json!({
            "Start": super::time(probe.start),
            "End": super::time(probe.end),
            "ExitCode": probe.exit_code,
            "Output": probe.output,
        })
    });
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.failing_streak,
        "Log": probes.collect::<Vec<_>>(),
    })
}

fn mount_point(mount: &Mount, place: &str) -> Value {
    let (kind, name, source) = match &mount.source {
        MountSource::Bind { path, .. } => ("bind", None, path.display().to_string()),
        MountSource::Volume { name, .. } => ("volume", Some(name), place.to_owned()),
        MountSource::Tmpfs { .. } => ("tmpfs", None, String::new()),
        MountSource::Image { name, .. } => ("image", None, name.clone()),
    };
    let propagation = match &mount.source {
        MountSource::Bind { propagation, .. } => propagation.name(),
        _ => "",
    };
    let mut point = json!({
        "Type": kind,
        "Source": source,
        "Destination": mount.target,
        "Mode": if mount.read_only { "ro" } else { "" },
        "RW": !mount.read_only,
        "Propagation": propagation,
    });
    if let Some(name) = name {
        point["Name"] = json!(name);
        point["Driver"] = json!("local");
    }
    point
}

fn binds(container: &Container) -> Vec<String> {
    let bind = |mount: &Mount| {
        let source = match &mount.source {
            MountSource::Bind { path, .. } => path.display().to_string(),
            MountSource::Volume { name, anonymous: false, .. } => name.clone(),
            _ => return None,
        };
        Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
    };
    container.mounts.iter().filter_map(bind).collect()
}

fn host_config(container: &Container) -> Value {
    let host = &container.host;
    let limits = &host.limits;
    let hosts: Vec<_> = host.extra_hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect();
    let ulimits: Vec<_> = host
        .ulimits
        .iter()
        .map(|(name, soft, hard)| json!({"Name": name, "Hard": hard, "Soft": soft}))
        .collect();
    let devices: Vec<_> = host
        .devices
        .iter()
        .map(|device| {
            json!({
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            })
        })
        .collect();
    let mut value = json!({
        "Binds": binds(container),
        "LogConfig": {"Type": host.log.name(), "Config": host.log_options},
        "NetworkMode": host.network.name(),
        "PortBindings": port_bindings(container),
        "RestartPolicy": {"Name": host.restart.name.name(), "MaximumRetryCount": host.restart.maximum_retry_count},
        "AutoRemove": host.auto_remove,
        "CapAdd": host.cap_add,
        "CapDrop": host.cap_drop,
        "Dns": host.dns,
        "DnsOptions": host.dns_options,
        "DnsSearch": host.dns_search,
        "ExtraHosts": hosts,
        "OomScoreAdj": host.oom_score_adj.unwrap_or(0),
        "Privileged": host.privileged,
        "Runtime": host.runtime.as_ref().map_or("bld".into(), |runtime| runtime.to_string_lossy()),
        "PublishAllPorts": host.publish_all,
        "ReadonlyRootfs": host.read_only,
        "SecurityOpt": host.security_opt,
        "ShmSize": host.shm_size.unwrap_or(64 << 20),
        "Sysctls": host.sysctls,
        "Devices": devices,
        "Ulimits": ulimits,
        "Init": host.init,
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "PidsLimit": limits.pids,
    });
    for more in [shared(host), devices_share(limits)] {
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
    }
    value
}

/// What it shares with the host and other containers, and what is noted of it.
fn shared(host: &HostConfig) -> Value {
    json!({
        "GroupAdd": (!host.groups.is_empty()).then_some(&host.groups),
        "Annotations": host.annotations,
        "UTSMode": if host.host_uts { "host" } else { "" },
        "IpcMode": if host.ipc == Sharing::Own { "private".to_owned() } else { host.ipc.name() },
        "UsernsMode": if host.ids.is_some() { "private" } else { "" },
        "PidMode": host.pid.name(),
        "CgroupnsMode": "private",
    })
}

/// What block devices give it.
fn devices_share(limits: &Limits) -> Value {
    json!({
        "BlkioWeight": limits.io_weight.unwrap_or(0),
        "BlkioDeviceReadBps": rates(limits, IoKind::ReadBytes),
        "BlkioDeviceWriteBps": rates(limits, IoKind::WriteBytes),
        "BlkioDeviceReadIOps": rates(limits, IoKind::Reads),
        "BlkioDeviceWriteIOps": rates(limits, IoKind::Writes),
    })
}

fn rates(limits: &Limits, kind: IoKind) -> Vec<Value> {
    let rates = limits.io_rates.iter().filter(|rate| rate.kind == kind);
    rates.map(|rate| json!({"Path": rate.device, "Rate": rate.rate})).collect()
}

fn config(container: &Container) -> Value {
    let (config, host) = (&container.config, &container.host);
    let image = super::image::Config::of(config);
    let mut value = json!({
        "Hostname": host.hostname,
        "Domainname": host.domainname,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": host.tty,
        "OpenStdin": host.open_stdin,
        "StdinOnce": host.open_stdin,
        "Image": container.image_name,
    });
    if let Some(timeout) = host.stop_timeout {
        value["StopTimeout"] = json!(timeout);
    }
    if let (Value::Object(value), Ok(Value::Object(image))) =
        (&mut value, serde_json::to_value(image))
    {
        value.extend(image);
    }
    value
}

fn network_settings(container: &Container) -> Value {
    let running = container.state.is_running();
    let mode = &container.host.network;
    let mut networks: Map<String, Value> = container
        .networks
        .iter()
        .map(|(name, place)| (name.clone(), network(place, container)))
        .collect();
    if !mode.is_bridged() && !matches!(mode, NetworkMode::Container(_)) {
        networks.insert(mode.name(), network(&Attachment::default(), container));
    }
    let ports: Map<String, Value> = if running && mode.is_bridged() {
        ports::by_port(container)
            .into_iter()
            .map(|(port, hosts)| (port, bindings(&hosts)))
            .collect()
    } else {
        Map::new()
    };
    // Scripts of old look here; docker leaves it empty unless the first network is the default one.
    let place = container.networks.get("bridge").cloned().unwrap_or_default();
    let first = network(&place, container);
    json!({
        "Bridge": "",
        "SandboxID": "",
        "Ports": ports,
        "Gateway": first["Gateway"],
        "IPAddress": first["IPAddress"],
        "IPPrefixLen": first["IPPrefixLen"],
        "MacAddress": first["MacAddress"],
        "Networks": networks,
    })
}

fn bindings(hosts: &[Published]) -> Value {
    if hosts.is_empty() {
        return Value::Null;
    }
    let binding = |published: &Published| {
        let (ip, port) = (published.host.ip().to_string(), published.host.port().to_string());
        json!({"HostIp": ip, "HostPort": port})
    };
    hosts.iter().map(binding).collect()
}

fn network(place: &Attachment, container: &Container) -> Value {
    let endpoint = place.endpoint.as_ref();
    let text = |of: fn(&Endpoint) -> String| endpoint.map(of).unwrap_or_default();
    let v6 = endpoint.and_then(|endpoint| endpoint.v6);
    let names = place.aliases.iter().cloned().chain([container.name.clone(), container.short_id()]);
    json!({
        "IPAMConfig": wished(place),
        "Links": Value::Null,
        "Aliases": if place.aliases.is_empty() { Value::Null } else { json!(place.aliases) },
        "MacAddress": text(|endpoint| endpoint.mac.to_string()),
        "Gateway": text(|endpoint| endpoint.gateway.to_string()),
        "IPAddress": text(|endpoint| endpoint.ip.to_string()),
        "IPPrefixLen": endpoint.map_or(0, |endpoint| endpoint.prefix),
        "IPv6Gateway": v6.map(|v6| v6.gateway.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": v6.map(|v6| v6.ip.to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": v6.map_or(0, |v6| v6.prefix),
        "DNSNames": names.collect::<Vec<_>>(),
    })
}

/// The addresses that were asked for.
fn wished(place: &Attachment) -> Value {
    let v4 = place.ip.map(|ip| ("IPv4Address", ip.to_string()));
    let v6 = place.ip6.map(|ip| ("IPv6Address", ip.to_string()));
    let wished: BTreeMap<_, _> = v4.into_iter().chain(v6).collect();
    if wished.is_empty() { Value::Null } else { json!(wished) }
}

/// What was asked for with `--publish`.
fn port_bindings(container: &Container) -> Value {
    let mut bindings: Map<String, Value> = Map::new();
    for wish in &container.host.ports {
        let port = match wish.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let ip = wish.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let name = format!("{}/{}", wish.port, wish.protocol);
        let binding = json!({"HostIp": ip, "HostPort": port});
        match bindings.entry(name).or_insert_with(|| json!([])) {
            Value::Array(all) => all.push(binding),
            other => *other = json!([binding]),
        }
    }
    bindings.into()
}
