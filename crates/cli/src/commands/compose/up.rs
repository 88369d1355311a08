//! `compose up` and `start`.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use bld_compose::{Condition, Pool, Project, PullPolicy, Service, Volume};
use bld_engine::EngineError;
use bld_engine::containers::{Container, HealthStatus, MountSource, RemoveOptions, Status};
use bld_engine::networks::{Driver, NetworkRequest};

use super::Place;
use super::project::{self, HASH, Member, NETWORK, PROJECT, VERSION, VOLUME, members, tell};
use super::service::{self, Which, hash, image};
use super::{build, down, logs, watch};
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// How often what is waited for is looked at.
const MOMENT: Duration = Duration::from_millis(100);

/// Create and start containers
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Stops all containers if any container was stopped
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_exit: bool,
    /// Build images before starting containers
    #[arg(long)]
    build: bool,
    /// Detached mode: Run containers in the background
    #[arg(short, long)]
    detach: bool,
    /// Return the exit code of the selected service container. Implies --abort-on-container-exit
    #[arg(long, value_name = "string", conflicts_with = "detach")]
    exit_code_from: Option<String>,
    /// Recreate containers even if their configuration and image haven't changed
    #[arg(long)]
    force_recreate: bool,
    /// Don't build an image, even if it's policy
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// Don't start linked services
    #[arg(long)]
    no_deps: bool,
    /// If containers already exist, don't recreate them
    #[arg(long, conflicts_with = "force_recreate")]
    no_recreate: bool,
    /// Don't start the services after creating them
    #[arg(long)]
    no_start: bool,
    /// Pull image before running ("always"|"missing"|"never")
    #[arg(long, value_name = "string")]
    pull: Option<String>,
    /// Suppress the build output
    #[arg(long)]
    quiet_build: bool,
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    remove_orphans: bool,
    /// Scale SERVICE to NUM instances. Overrides the scale setting in the Compose file if present
    #[arg(long, value_name = "SERVICE=NUM")]
    scale: Vec<String>,
    /// Use this timeout in seconds for container shutdown
    #[arg(short, long, value_name = "int")]
    timeout: Option<i64>,
    /// Wait for services to be running|healthy. Implies detached mode
    #[arg(long)]
    wait: bool,
    /// Maximum duration in seconds to wait for the project to be running|healthy
    #[arg(long, value_name = "int")]
    wait_timeout: Option<u64>,
    /// Watch source code and rebuild/refresh containers when files are updated
    #[arg(short, long, conflicts_with_all = ["detach", "wait", "no_start"])]
    watch: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

impl Args {
    /// To start services, or all, before their files are watched.
    pub(super) fn for_watch(services: &[String], quiet: bool) -> Self {
        let some = Self { quiet_build: quiet, services: services.to_vec(), ..Self::default() };
        Self { build: true, detach: true, ..some }
    }

    /// To build a service's image and make its containers anew, and nothing else.
    pub(super) fn for_rebuild(service: &str, quiet: bool) -> Self {
        let services = vec![service.to_owned()];
        let some = Self { no_deps: true, quiet_build: quiet, services, ..Self::default() };
        Self { build: true, detach: true, ..some }
    }
}

/// Start services
#[derive(Debug, clap::Args)]
pub(super) struct StartArgs {
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(super) fn run(args: &Args, place: &Place, session: &Session) -> Outcome {
    let stays = !args.detach && !args.wait;
    let interrupts = stays.then(logs::Interrupts::watch).transpose()?;
    let mut project = project::read(place, &args.services, session)?;
    if args.watch {
        watch::check(&project, &args.services)?;
    }
    scale(&mut project, &args.scale)?;
    let order = order(&project, &args.services, args.no_deps)?;
    prepare(session, &project, &order)?;
    if args.build || !args.no_build {
        for name in &order {
            let service = &project.services[name];
            let missing = session.engine.find_image(&image(&project, name, service)).is_err();
            if service.build.is_some() && (args.build || missing) {
                let more: &[String] = if args.quiet_build { &["--quiet".to_owned()] } else { &[] };
                let code = build::build(session, &project, name, service, more)?;
                if code != 0 {
                    return Ok(code);
                }
            }
        }
    }
    orphans(session, &project, args.remove_orphans, args.timeout)?;
    for name in &order {
        let containers = reconcile(session, &project, name, args)?;
        if args.no_start {
            continue;
        }
        if !args.no_deps {
            await_dependencies(session, &project, &project.services[name])?;
        }
        for container in containers {
            if container.state.is_running() {
                tell(session, "Container", &container.name, "Running");
            } else {
                session.engine.start_container(&container.id)?;
                tell(session, "Container", &container.name, "Started");
            }
        }
    }
    if args.no_start {
        return Ok(0);
    }
    if args.wait {
        let patience = args.wait_timeout.map(Duration::from_secs);
        await_all(session, &project, &order, patience)?;
    }
    let Some(interrupts) = interrupts else { return Ok(0) };
    if args.watch {
        watch::beside(place, session, &args.services);
    }
    let ends = logs::Ends {
        aborts: args.abort_on_container_exit || args.exit_code_from.is_some(),
        code_from: args.exit_code_from.as_deref(),
        timeout: args.timeout,
        replaced: args.watch,
    };
    logs::attend(session, &project, &order, &interrupts, &ends)
}

fn scale(project: &mut Project, words: &[String]) -> Result<(), Failure> {
    for word in words {
        let number =
            word.split_once('=').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let invalid =
            || Failure::new(format!("invalid --scale option {word:?}. Should be SERVICE=NUM"));
        let (name, number) = number.ok_or_else(invalid)?;
        let service = project.services.get_mut(name);
        service.ok_or_else(|| Failure::new(format!("no such service: {name}")))?.scale =
            Some(number);
    }
    for (name, service) in &project.services {
        if service.container_name.is_some() && service.replicas() > 1 {
            return Err(Failure::new(format!(
                "the {name:?} service is using the custom container name {:?}; docker requires each \
                 container to have a unique name. Remove the custom name to scale the service",
                service.container_name.as_deref().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// The services that are meant and, unless they are to be alone, those that they depend on.
pub(super) fn order(
    project: &Project,
    names: &[String],
    alone: bool,
) -> Result<Vec<String>, Failure> {
    let all = project.order().map_err(|error| Failure::new(error.to_string()))?;
    if names.is_empty() {
        return Ok(all);
    }
    let mut wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if !alone {
        // Those that depend come later in the order.
        for name in all.iter().rev() {
            if wanted.contains(name.as_str()) {
                wanted.extend(project.services[name].depends_on.keys().map(String::as_str));
            }
        }
    }
    Ok(all.iter().filter(|name| wanted.contains(name.as_str())).cloned().collect())
}

/// Makes the networks and volumes that are used.
pub(super) fn prepare(
    session: &Session,
    project: &Project,
    order: &[String],
) -> Result<(), Failure> {
    let services = || order.iter().filter_map(|name| project.services.get(name));
    for (key, network) in &project.networks {
        let used = services().any(|service| service.networks.contains_key(key));
        let name = network.name.as_ref().unwrap_or(key);
        if !used {
            continue;
        }
        match session.engine.network(name) {
            Ok(_) => continue,
            Err(EngineError::NoSuchNetwork { .. }) if !network.external => {}
            Err(EngineError::NoSuchNetwork { .. }) => {
                return Err(Failure::new(format!(
                    "network {name} declared as external, but could not be found"
                )));
            }
            Err(error) => return Err(error.into()),
        }
        let is_v6 = |pool: &&Pool| pool.subnet.as_ref().is_some_and(|text| text.contains(':'));
        let pools = &network.ipam.config;
        let pool = pools.iter().find(|pool| !is_v6(pool)).cloned().unwrap_or_default();
        let pool6 = pools.iter().find(is_v6).cloned().unwrap_or_default();
        let driver = network.driver.as_deref().unwrap_or("bridge");
        let driver = Driver::from_name(driver)
            .ok_or_else(|| Failure::new(format!("plugin {driver:?} not found")))?;
        let request = NetworkRequest {
            name: name.clone(),
            driver,
            subnet: address(pool.subnet.as_ref())?,
            gateway: address(pool.gateway.as_ref())?,
            ip_range: address(pool.ip_range.as_ref())?,
            auxiliary: BTreeMap::new(),
            ipv6: network.enable_ipv6,
            subnet6: address(pool6.subnet.as_ref())?,
            gateway6: address(pool6.gateway.as_ref())?,
            internal: network.internal,
            attachable: network.attachable,
            labels: labels(&network.labels.0, project, NETWORK, key),
            options: plain(&network.driver_opts.0),
        };
        session.engine.create_network(&request)?;
        tell(session, "Network", name, "Created");
    }
    for (key, volume) in &project.volumes {
        make_volume(session, project, key, volume)?;
    }
    Ok(())
}

/// An address or a subnet of a network.
fn address<T>(text: Option<&String>) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|error: T::Err| Failure::new(format!("ipam: {error}")))
}

fn make_volume(
    session: &Session,
    project: &Project,
    key: &str,
    volume: &Volume,
) -> Result<(), Failure> {
    let name = volume.name.as_deref().unwrap_or(key);
    match session.engine.volume(name) {
        Ok(_) => Ok(()),
        Err(EngineError::NoSuchVolume { .. }) if !volume.external => {
            let labels = labels(&volume.labels.0, project, VOLUME, key);
            session.engine.create_volume(name, &labels)?;
            tell(session, "Volume", name, "Created");
            Ok(())
        }
        Err(EngineError::NoSuchVolume { .. }) => {
            Err(Failure::new(format!("external volume {name:?} not found")))
        }
        Err(error) => Err(error.into()),
    }
}

type Labels = BTreeMap<String, String>;

fn plain(mapping: &BTreeMap<String, Option<String>>) -> Labels {
    mapping.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect()
}

fn labels(
    own: &BTreeMap<String, Option<String>>,
    project: &Project,
    kind: &str,
    key: &str,
) -> Labels {
    let mut labels = plain(own);
    labels.insert(PROJECT.to_owned(), project.name.clone());
    labels.insert(kind.to_owned(), key.to_owned());
    labels.insert(VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    labels
}

/// Says which containers belong to services that are not there any more, or removes them.
fn orphans(
    session: &Session,
    project: &Project,
    remove: bool,
    timeout: Option<i64>,
) -> Result<(), Failure> {
    let known =
        |name: &String| project.services.contains_key(name) || project.disabled.contains(name);
    let mut orphans = members(session, &project.name, &[])?;
    orphans.retain(|member| !member.one_off && !known(&member.service));
    if orphans.is_empty() {
        return Ok(());
    }
    if !remove {
        let names: Vec<_> = orphans.iter().map(|orphan| orphan.container.name.as_str()).collect();
        session.tell(&format!(
            "warning: Found orphan containers ({}) for this project. If you removed or renamed this \
             service in your compose file, you can run this command with the --remove-orphans flag \
             to clean it up.",
            names.join(" ")
        ));
        return Ok(());
    }
    for orphan in &orphans {
        down::remove(session, orphan, timeout, false)?;
    }
    Ok(())
}

/// Makes the containers of a service what it says: as many, and each as it is now.
fn reconcile(
    session: &Session,
    project: &Project,
    name: &str,
    args: &Args,
) -> Result<Vec<Container>, Failure> {
    let service = &project.services[name];
    let mut pull = args.pull.clone();
    if service.pull_policy == PullPolicy::Always {
        pull.get_or_insert("always".to_owned());
    } else if service.pull_policy == PullPolicy::Never || service.build.is_some() {
        pull.get_or_insert("never".to_owned());
    }
    let flags: Vec<String> = pull.into_iter().map(|pull| format!("--pull={pull}")).collect();
    let mut present = members(session, &project.name, &[name.to_owned()])?;
    present.retain(|member| !member.one_off);
    let mut containers = Vec::new();
    for number in 1..=service.replicas() {
        let at = present.iter().position(|member| member.number == number);
        let old = at.map(|at| present.remove(at));
        let which = Which { number, flags: flags.clone(), ..Which::default() };
        containers.push(match old {
            Some(old) if !is_outdated(session, project, name, service, &old, args)? => {
                old.container
            }
            Some(old) => recreate(session, project, name, &old, &which, args.timeout)?,
            None => {
                let made = service::make(session, project, name, &which)?;
                tell(session, "Container", &made.name, "Created");
                made
            }
        });
    }
    for left in &present {
        down::remove(session, left, args.timeout, false)?;
    }
    Ok(containers)
}

fn is_outdated(
    session: &Session,
    project: &Project,
    name: &str,
    service: &Service,
    old: &Member,
    args: &Args,
) -> Result<bool, Failure> {
    if args.no_recreate {
        return Ok(false);
    }
    let known = old.container.config.labels.get(HASH);
    let image = session.engine.find_image(&image(project, name, service));
    let same_image = image.map_or(true, |image| image.id == old.container.image);
    Ok(args.force_recreate || known != Some(&hash(project, service)?) || !same_image)
}

/// Puts a new container in the place of an old one. It takes over the volumes that have no name.
fn recreate(
    session: &Session,
    project: &Project,
    name: &str,
    old: &Member,
    which: &Which,
    timeout: Option<i64>,
) -> Result<Container, Failure> {
    session.engine.stop_container(&old.container.id, None, timeout)?;
    session
        .engine
        .remove_container(&old.container.id, RemoveOptions { force: true, volumes: false })?;
    let nameless = old.container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, anonymous: true, .. } => {
            Some((mount.target.clone(), name.clone()))
        }
        _ => None,
    });
    let which = Which { kept: nameless.collect(), ..which.clone() };
    let made = service::make(session, project, name, &which)?;
    tell(session, "Container", &made.name, "Recreated");
    Ok(made)
}

/// Starts what a service depends on, for a command of its own.
pub(super) fn start_dependencies(
    session: &Session,
    project: &Project,
    order: &[String],
    own: &str,
) -> Result<(), Failure> {
    let args = Args::default();
    for name in order {
        await_dependencies(session, project, &project.services[name])?;
        if name == own {
            continue;
        }
        let service = &project.services[name];
        if service.build.is_some()
            && session.engine.find_image(&image(project, name, service)).is_err()
        {
            build::build(session, project, name, service, &[])?;
        }
        for container in reconcile(session, project, name, &args)? {
            if !container.state.is_running() {
                session.engine.start_container(&container.id)?;
                tell(session, "Container", &container.name, "Started");
            }
        }
    }
    Ok(())
}

/// Waits until what a service depends on is as it has to be.
fn await_dependencies(
    session: &Session,
    project: &Project,
    service: &Service,
) -> Result<(), Failure> {
    for (other, dependency) in &service.depends_on {
        for member in members(session, &project.name, std::slice::from_ref(other))? {
            if !member.one_off {
                await_condition(session, &member.container, dependency.condition, None)?;
            }
        }
    }
    Ok(())
}

fn await_condition(
    session: &Session,
    container: &Container,
    condition: Condition,
    end: Option<Instant>,
) -> Result<(), Failure> {
    let failed = |why: String| {
        Failure::new(format!("dependency failed to start: container {} {why}", container.name))
    };
    loop {
        let now = session.engine.find_container(&container.id)?;
        let ended = now.state.status == Status::Exited;
        let health = now.state.health.as_ref().map(|health| health.status);
        match (condition, health) {
            (Condition::ServiceStarted, _)
            | (Condition::ServiceHealthy, Some(HealthStatus::Healthy)) => return Ok(()),
            (Condition::ServiceCompletedSuccessfully, _) if ended => {
                return match now.state.exit_code {
                    0 => Ok(()),
                    code => Err(Failure::new(format!(
                        "service didn't complete successfully: container {} exited ({code})",
                        container.name
                    ))),
                };
            }
            (Condition::ServiceHealthy, _) if ended => {
                return Err(failed(format!("exited ({})", now.state.exit_code)));
            }
            (Condition::ServiceHealthy, None) => {
                return Err(failed("has no healthcheck configured".to_owned()));
            }
            (Condition::ServiceHealthy, Some(HealthStatus::Unhealthy)) => {
                return Err(failed("is unhealthy".to_owned()));
            }
            _ => {}
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Failure::new("timeout waiting for the project to be running or healthy"));
        }
        thread::sleep(MOMENT);
    }
}

/// Waits until all run, and those with a health check are well.
fn await_all(
    session: &Session,
    project: &Project,
    order: &[String],
    patience: Option<Duration>,
) -> Result<(), Failure> {
    let end = patience.map(|patience| Instant::now() + patience);
    for member in members(session, &project.name, order)? {
        let now = session.engine.find_container(&member.container.id)?;
        if now.state.health.is_some() {
            await_condition(session, &now, Condition::ServiceHealthy, end)?;
            tell(session, "Container", &now.name, "Healthy");
        } else if !now.state.is_running() && now.state.exit_code != 0 {
            let code = now.state.exit_code;
            return Err(Failure::new(format!("container {} exited ({code})", now.name)));
        }
    }
    Ok(())
}

pub(super) fn start(args: &StartArgs, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let mut any = false;
    for name in order(&project, &args.services, true)? {
        for member in members(session, &project.name, std::slice::from_ref(&name))? {
            any = true;
            // Those that are named alone do not wait for what nobody starts.
            if args.services.is_empty() {
                await_dependencies(session, &project, &project.services[&name])?;
            }
            if !member.one_off && !member.container.state.is_running() {
                session.engine.start_container(&member.container.id)?;
                tell(session, "Container", &member.container.name, "Started");
            }
        }
    }
    if !any {
        return Err(Failure::new("no container found for the project to start")
            .with_hint("bld compose up makes them"));
    }
    Ok(0)
}
