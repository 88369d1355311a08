//! A service as flags of `bld create`.

use std::collections::BTreeMap;

use bld_compose::{FileObject, FileReference, Membership, Project, Service, VolumeMount};
use bld_engine::containers::{Container, CreateRequest, PlacedContent, PlacedFile};
use bld_oci::{Digest, Healthcheck};
use clap::{FromArgMatches as _, Parser};

use super::project::{
    DEPENDS_ON, DIRECTORY, FILES, HASH, IMAGE, NUMBER, ONE_OFF, PROJECT, SERVICE, VERSION,
};
use crate::commands::create;
use crate::commands::options::Options;
use crate::error::Failure;
use crate::output::units::parse_duration;
use crate::session::Session;

/// The flags of a command, without the command.
#[derive(Debug, Parser)]
struct Flags<T: clap::Args> {
    #[command(flatten)]
    flags: T,
}

/// Reads words as the flags of a command.
pub(super) fn parsed<T: clap::Args>(words: Vec<String>) -> Result<T, Failure> {
    use clap::CommandFactory as _;
    let command = crate::usage::prepare(Flags::<T>::command());
    let words = std::iter::once("compose".to_owned()).chain(words);
    let matches = command.try_get_matches_from(words);
    let flags = matches.and_then(|matches| Flags::from_arg_matches(&matches));
    flags.map(|flags| flags.flags).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Failure::new(line.trim_start_matches("error: ").to_owned())
    })
}

/// The image of a service: its own, or what is built for it.
pub(super) fn image(project: &Project, name: &str, service: &Service) -> String {
    service.image.clone().unwrap_or_else(|| project.own_name(name))
}

/// What tells whether a container is what its service says now.
pub(super) fn hash(project: &Project, service: &Service) -> Result<String, Failure> {
    // How many there are is nothing that one of them shows, nor is who looks at its files.
    let mut one =
        Service { scale: None, develop: bld_compose::Develop::default(), ..service.clone() };
    one.deploy.replicas = None;
    // Of secrets not even a digest is shown.
    let configs = service.configs.iter().filter_map(|used| project.configs.get(&used.source));
    let contents: Vec<_> = configs.filter_map(|config| config.value.as_ref()).collect();
    let told = if contents.is_empty() {
        serde_json::to_value(&one)
    } else {
        serde_json::to_value((&one, contents))
    };
    let text = told
        .and_then(|told| serde_json::to_vec(&told))
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(Digest::of(&text).hex())
}

/// Which container of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Which {
    pub(super) number: u32,
    /// It is for one command only, and has this name.
    pub(super) one_off: Option<String>,
    /// Flags besides those of the service.
    pub(super) flags: Vec<String>,
    /// The command, instead of the service's.
    pub(super) command: Option<Vec<String>>,
    /// Volumes without names that it takes over, by where they are mounted.
    pub(super) kept: BTreeMap<String, String>,
    /// Whether it leads ports of the host to itself.
    pub(super) without_ports: bool,
}

/// Makes a container of a service.
pub(super) fn make(
    session: &Session,
    project: &Project,
    name: &str,
    which: &Which,
) -> Result<Container, Failure> {
    let missing = || Failure::new(format!("no such service: {name}"));
    let service = project.services.get(name).ok_or_else(missing)?;
    let wrong = |failure: Failure| failure.about(&format!("service {name:?}"));
    let mut words = words(project, name, service, which)?;
    if let Ok(found) = session.engine.find_image(&image(project, name, service)) {
        words.push(format!("--label={IMAGE}={}", found.id));
    }
    words.extend(which.flags.iter().cloned());
    let options: Options = parsed(words).map_err(wrong)?;
    let mut line = vec![image(project, name, service)];
    match (&which.command, &service.command) {
        (Some(command), _) => line.extend(command.iter().cloned()),
        (None, Some(command)) => line.extend(command.0.iter().cloned()),
        (None, None) => {}
    }
    let mut request: CreateRequest = options.request(&line).map_err(wrong)?;
    if request.entrypoint.is_none() {
        request.entrypoint = service.entrypoint.as_ref().map(|words| words.0.clone());
    }
    if let Some(check) = &service.healthcheck {
        request.healthcheck = healthcheck(check).map_err(wrong)?;
    }
    let files = placed(project, service);
    if !files.is_empty() && service.read_only {
        return Err(wrong(Failure::new(
            "secrets and configs that are no files can't be put into a read-only service",
        )));
    }
    let container = create::create(session, &options, &request).map_err(wrong)?;
    if !files.is_empty() {
        session.engine.place_files(&container.id, files).map_err(Failure::from).map_err(wrong)?;
    }
    Ok(container)
}

/// The secrets and configurations of a service, with where they are in a container.
fn objects<'a>(
    project: &'a Project,
    service: &'a Service,
) -> impl Iterator<Item = (&'a FileReference, Option<&'a FileObject>, String)> {
    let kinds = [
        ("/run/secrets", &project.secrets, &service.secrets),
        ("", &project.configs, &service.configs),
    ];
    kinds.into_iter().flat_map(|(directory, objects, used)| {
        used.iter().map(move |one| {
            let target = one.target.as_ref().unwrap_or(&one.source);
            let below = format!("{directory}/{target}");
            let target = if target.starts_with('/') { target.clone() } else { below };
            (one, objects.get(&one.source), target)
        })
    })
}

/// Those that are no files of the host.
fn placed(project: &Project, service: &Service) -> Vec<PlacedFile> {
    objects(project, service)
        .filter_map(|(one, object, target)| Some((one, object?.value.as_ref()?, target)))
        .map(|(one, value, target)| PlacedFile {
            target: target.into(),
            content: PlacedContent::Bytes {
                bytes: value.clone().into_bytes(),
                uid: one.uid.unwrap_or(0),
                gid: one.gid.unwrap_or(0),
                mode: one.mode.unwrap_or(0o444),
            },
        })
        .collect()
}

fn words(
    project: &Project,
    name: &str,
    service: &Service,
    which: &Which,
) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut add = |flag: &str, value: &str| words.push(format!("--{flag}={value}"));
    let own = project.container_name(name, which.number);
    let own = service.container_name.clone().unwrap_or(own);
    add("name", which.one_off.as_ref().unwrap_or(&own));
    for (key, value) in &service.labels.0 {
        add("label", &format!("{key}={}", value.as_deref().unwrap_or_default()));
    }
    let files: Vec<_> = project.files.iter().map(|file| file.display().to_string()).collect();
    let needs: Vec<_> = service
        .depends_on
        .iter()
        .map(|(name, needs)| format!("{name}:{}:{}", needs.condition.name(), needs.restart))
        .collect();
    let labels = [
        (DEPENDS_ON, needs.join(",")),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (PROJECT, project.name.clone()),
        (SERVICE, name.to_owned()),
        (NUMBER, which.number.to_string()),
        (ONE_OFF, if which.one_off.is_some() { "True" } else { "False" }.to_owned()),
        (HASH, hash(project, service)?),
        (FILES, files.join(",")),
        (DIRECTORY, project.directory.display().to_string()),
    ];
    for (key, value) in labels {
        add("label", &format!("{key}={value}"));
    }
    for (key, value) in &service.environment.0 {
        add("env", &format!("{key}={}", value.as_deref().unwrap_or_default()));
    }
    let lists = [
        ("cap-add", &service.cap_add),
        ("cap-drop", &service.cap_drop),
        ("device", &service.devices),
        ("dns", &service.dns),
        ("dns-option", &service.dns_opt),
        ("dns-search", &service.dns_search),
        ("add-host", &service.extra_hosts),
        ("expose", &service.expose),
        ("group-add", &service.group_add),
        ("security-opt", &service.security_opt),
        ("tmpfs", &service.tmpfs),
    ];
    for (flag, values) in lists {
        for value in values {
            add(flag, value);
        }
    }
    let limits = &service.deploy.resources.limits;
    let reserved = &service.deploy.resources.reservations;
    let texts = [
        ("blkio-weight", service.blkio_config.weight.as_ref()),
        ("cpu-shares", service.cpu_shares.as_ref()),
        ("cpuset-cpus", service.cpuset.as_ref()),
        ("domainname", service.domainname.as_ref()),
        ("memory-swap", service.memswap_limit.as_ref()),
        ("userns", service.userns_mode.as_ref()),
        ("uts", service.uts.as_ref()),
        ("oom-score-adj", service.oom_score_adj.as_ref()),
        ("cpus", service.cpus.as_ref().or(limits.cpus.as_ref())),
        ("hostname", service.hostname.as_ref()),
        ("memory", service.mem_limit.as_ref().or(limits.memory.as_ref())),
        ("memory-reservation", service.mem_reservation.as_ref().or(reserved.memory.as_ref())),
        ("pids-limit", service.pids_limit.as_ref().or(limits.pids.as_ref())),
        ("platform", service.platform.as_ref()),
        ("restart", service.restart.as_ref().filter(|_| which.one_off.is_none())),
        ("shm-size", service.shm_size.as_ref()),
        ("stop-signal", service.stop_signal.as_ref()),
        ("user", service.user.as_ref()),
        ("workdir", service.working_dir.as_ref()),
    ];
    for (flag, value) in texts {
        if let Some(value) = value {
            add(flag, value);
        }
    }
    if let Some(period) = &service.stop_grace_period {
        add("stop-timeout", &parse_duration(period).map_err(Failure::new)?.as_secs().to_string());
    }
    let mappings = [("annotation", &service.annotations), ("sysctl", &service.sysctls)];
    for (flag, mapping) in mappings {
        for (key, value) in &mapping.0 {
            add(flag, &format!("{key}={}", value.as_deref().unwrap_or_default()));
        }
    }
    for (flag, time) in [("cpu-period", &service.cpu_period), ("cpu-quota", &service.cpu_quota)] {
        if let Some(time) = time {
            add(flag, &microseconds(time)?);
        }
    }
    let blkio = &service.blkio_config;
    let rates = [
        ("device-read-bps", &blkio.device_read_bps),
        ("device-read-iops", &blkio.device_read_iops),
        ("device-write-bps", &blkio.device_write_bps),
        ("device-write-iops", &blkio.device_write_iops),
    ];
    for (flag, devices) in rates {
        for device in devices {
            add(flag, &format!("{}:{}", device.path, device.rate.as_deref().unwrap_or_default()));
        }
    }
    for file in &service.label_file {
        add("label-file", &project.directory.join(file).display().to_string());
    }
    for (flag, mode) in [("ipc", &service.ipc), ("pid", &service.pid)] {
        if let Some(mode) = mode {
            add(flag, &shared(project, mode));
        }
    }
    for from in &service.volumes_from {
        let (other, mode) = match from.strip_prefix("container:") {
            Some(container) => (container.to_owned(), ""),
            None => match from.split_once(':') {
                Some((service, mode)) => (first_container(project, service), mode),
                None => (first_container(project, from), ""),
            },
        };
        add("volumes-from", &[other.as_str(), mode].join(if mode.is_empty() { "" } else { ":" }));
    }
    if let Some(logging) = &service.logging {
        if let Some(driver) = &logging.driver {
            add("log-driver", driver);
        }
        for (key, value) in &logging.options.0 {
            add("log-opt", &format!("{key}={}", value.as_deref().unwrap_or_default()));
        }
    }
    for (key, value) in &service.ulimits {
        add("ulimit", &format!("{key}={value}"));
    }
    if !which.without_ports {
        for port in &service.ports {
            add("publish", &port.words());
        }
    }
    for mount in &service.volumes {
        match mount {
            VolumeMount::Bind { source, target, read_only, create_host_path: true } => {
                add("volume", &format!("{source}:{target}{}", ending(*read_only)));
            }
            VolumeMount::Bind { source, target, read_only, .. } => {
                let read_only = if *read_only { ",readonly" } else { "" };
                add("mount", &format!("type=bind,source={source},target={target}{read_only}"));
            }
            // It is taken over below.
            VolumeMount::Volume { source: None, target, .. } if which.kept.contains_key(target) => {
            }
            VolumeMount::Volume { source: None, target, .. } => add("volume", target),
            VolumeMount::Volume { source: Some(source), target, read_only } => {
                let volume = project.volumes.get(source).and_then(|volume| volume.name.as_ref());
                let source = volume.unwrap_or(source);
                add("volume", &format!("{source}:{target}{}", ending(*read_only)));
            }
            VolumeMount::Tmpfs { target } => add("tmpfs", target),
        }
    }
    for (target, name) in &which.kept {
        add("volume", &format!("{name}:{target}"));
    }
    for (one, object, target) in objects(project, service) {
        if object.is_some_and(|object| object.value.is_some()) {
            continue;
        }
        let file = object.and_then(|object| object.file.as_ref());
        let missing = || Failure::new(format!("{:?} has neither file nor variable", one.source));
        let file = file.ok_or_else(missing)?;
        add("mount", &format!("type=bind,source={file},target={target},readonly"));
    }
    networks(project, name, service, &mut add)?;
    for (flag, given) in [
        ("init", service.init),
        ("interactive", service.stdin_open),
        ("privileged", service.privileged),
        ("read-only", service.read_only),
        ("tty", service.tty),
    ] {
        if given {
            words.push(format!("--{flag}"));
        }
    }
    Ok(words)
}

/// What is shared with another service is shared with its first container.
fn shared(project: &Project, mode: &str) -> String {
    match mode.strip_prefix("service:") {
        Some(other) => format!("container:{}", first_container(project, other)),
        None => mode.to_owned(),
    }
}

/// What the first container of a service is called.
fn first_container(project: &Project, service: &str) -> String {
    let chosen = project.services.get(service).and_then(|service| service.container_name.clone());
    chosen.unwrap_or_else(|| project.container_name(service, 1))
}

/// A number of microseconds, which may be said as a duration.
fn microseconds(text: &str) -> Result<String, Failure> {
    if text.chars().all(|char| char.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Ok(parse_duration(text).map_err(Failure::new)?.as_micros().to_string())
}

fn ending(read_only: bool) -> &'static str {
    if read_only { ":ro" } else { "" }
}

/// The networks of a service, the first one in front.
fn networks(
    project: &Project,
    name: &str,
    service: &Service,
    add: &mut dyn FnMut(&str, &str),
) -> Result<(), Failure> {
    if let Some(mode) = &service.network_mode {
        add("network", &shared(project, mode));
        return Ok(());
    }
    let mut networks: Vec<(&String, &Membership)> = service.networks.iter().collect();
    networks.sort_by_key(|(_, membership)| std::cmp::Reverse(membership.priority));
    let linked: BTreeMap<&str, &str> =
        service.links.iter().map(|link| link.split_once(':').unwrap_or((link, link))).collect();
    if let Some((other, _)) = linked.iter().find(|(other, alias)| other != alias) {
        return Err(Failure::new(format!(
            "links: {other} cannot have another name for one service alone"
        ))
        .with_hint("give it an alias on a network"));
    }
    for (network, membership) in networks {
        let outside = project.networks.get(network).and_then(|network| network.name.as_ref());
        let mut word = format!("name={}", outside.unwrap_or(network));
        for alias in std::iter::once(name).chain(membership.aliases.iter().map(String::as_str)) {
            word.push_str(",alias=");
            word.push_str(alias);
        }
        if let Some(ip) = &membership.ipv4_address {
            word.push_str(",ip=");
            word.push_str(ip);
        }
        if let Some(ip) = &membership.ipv6_address {
            word.push_str(",ip6=");
            word.push_str(ip);
        }
        add("network", &word);
    }
    Ok(())
}

fn healthcheck(check: &bld_compose::Healthcheck) -> Result<Healthcheck, Failure> {
    if check.disable {
        return Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
    }
    let span = |text: &Option<String>| -> Result<Option<i64>, Failure> {
        let span = text.as_deref().map(parse_duration).transpose().map_err(Failure::new)?;
        Ok(span.map(|span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    };
    Ok(Healthcheck {
        test: check.test.clone(),
        interval: span(&check.interval)?,
        timeout: span(&check.timeout)?,
        start_period: span(&check.start_period)?,
        start_interval: span(&check.start_interval)?,
        retries: check.retries.map(i64::from),
    })
}
