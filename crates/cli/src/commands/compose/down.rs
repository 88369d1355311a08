//! `compose down`, `stop`, `restart`, `kill` and `rm`.

use bld_engine::EngineError;
use bld_engine::containers::RemoveOptions;

use super::Place;
use super::project::{self, Member, PROJECT, members, tell};
use super::service::image;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Stop and remove containers, networks
#[derive(Debug, clap::Args)]
pub(super) struct DownArgs {
    /// Remove containers for services not defined in the Compose file
    #[arg(long)]
    remove_orphans: bool,
    /// Remove images used by services. "local" remove only images that don't have a custom tag ("local"|"all")
    #[arg(long, value_name = "string")]
    rmi: Option<Images>,
    /// Specify a shutdown timeout in seconds
    #[arg(short, long, value_name = "int")]
    timeout: Option<i64>,
    /// Remove named volumes declared in the "volumes" section of the Compose file and anonymous volumes
    /// attached to containers
    #[arg(short, long)]
    volumes: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Images {
    Local,
    All,
}

/// Stop services
#[derive(Debug, clap::Args)]
pub(super) struct StopArgs {
    /// Specify a shutdown timeout in seconds
    #[arg(short, long, value_name = "int")]
    timeout: Option<i64>,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Restart service containers
#[derive(Debug, clap::Args)]
pub(super) struct RestartArgs {
    /// Don't restart dependent services
    #[arg(long)]
    no_deps: bool,
    /// Specify a shutdown timeout in seconds
    #[arg(short, long, value_name = "int")]
    timeout: Option<i64>,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Force stop service containers
#[derive(Debug, clap::Args)]
pub(super) struct KillArgs {
    /// SIGNAL to send to the container
    #[arg(short, long, value_name = "string", default_value = "SIGKILL")]
    signal: String,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Removes stopped service containers
#[derive(Debug, clap::Args)]
pub(super) struct RmArgs {
    /// Don't ask to confirm removal
    #[arg(short, long)]
    force: bool,
    /// Stop the containers, if required, before removing
    #[arg(short, long)]
    stop: bool,
    /// Remove any anonymous volumes attached to containers
    #[arg(short, long)]
    volumes: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(super) fn run(args: &DownArgs, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let mut present = members(session, &project.name, &args.services)?;
    let known = |member: &Member| {
        project.services.contains_key(&member.service) || project.disabled.contains(&member.service)
    };
    present.retain(|member| args.remove_orphans || member.one_off || known(member));
    // Those that depend on others go first.
    let order = project.order().map_err(|error| Failure::new(error.to_string()))?;
    present.sort_by_key(|member| {
        std::cmp::Reverse(order.iter().position(|name| *name == member.service))
    });
    for member in &present {
        remove(session, member, args.timeout, args.volumes)?;
    }
    if !args.services.is_empty() {
        return Ok(0);
    }
    if args.volumes {
        for (key, volume) in project.volumes.iter().filter(|(_, volume)| !volume.external) {
            let name = volume.name.as_ref().unwrap_or(key);
            if session.engine.volume(name).is_ok() {
                session.engine.remove_volume(name, true)?;
                tell(session, "Volume", name, "Removed");
            }
        }
    }
    for (name, service) in project.services.iter().filter(|_| args.rmi.is_some()) {
        let image = image(&project, name, service);
        if service.image.is_some() && args.rmi == Some(Images::Local) {
            continue;
        }
        match session.engine.remove_image(&image, false) {
            Ok(_) => tell(session, "Image", &image, "Removed"),
            Err(EngineError::NoSuchImage { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for network in session.engine.networks()? {
        if network.labels.get(PROJECT) == Some(&project.name) {
            match session.engine.remove_network(&network.name) {
                Ok(_) => tell(session, "Network", &network.name, "Removed"),
                Err(EngineError::NetworkInUse { .. }) => {
                    tell(session, "Network", &network.name, "Resource is still in use");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(0)
}

/// Stops a container, if it runs, and removes it.
pub(super) fn remove(
    session: &Session,
    member: &Member,
    timeout: Option<i64>,
    volumes: bool,
) -> Result<(), Failure> {
    let container = &member.container;
    if container.state.is_running() {
        session.engine.stop_container(&container.id, None, timeout)?;
        tell(session, "Container", &container.name, "Stopped");
    }
    match session.engine.remove_container(&container.id, RemoveOptions { force: true, volumes }) {
        Err(EngineError::NoSuchContainer { .. }) => {}
        removed => removed?,
    }
    tell(session, "Container", &container.name, "Removed");
    Ok(())
}

/// What is there of the services that are meant, and not for one command only.
pub(super) fn standing(
    place: &Place,
    services: &[String],
    session: &Session,
) -> Result<Vec<Member>, Failure> {
    let name = project::name(place, session)?;
    let mut present = members(session, &name, services)?;
    present.retain(|member| !member.one_off);
    if let Some(missing) =
        services.iter().find(|name| !present.iter().any(|member| member.service == **name))
    {
        return Err(Failure::new(format!("no container found for service {missing:?}")));
    }
    Ok(present)
}

pub(super) fn stop(args: &StopArgs, place: &Place, session: &Session) -> Outcome {
    for member in standing(place, &args.services, session)?.iter().rev() {
        let container = &member.container;
        if container.state.is_running() {
            session.engine.stop_container(&container.id, None, args.timeout)?;
            tell(session, "Container", &container.name, "Stopped");
        }
    }
    Ok(0)
}

pub(super) fn restart(args: &RestartArgs, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let order = super::up::order(&project, &[], true)?;
    let mut names = args.services.clone();
    if !names.is_empty() && !args.no_deps {
        for name in &order {
            let follows = |(other, dependency): (&String, &bld_compose::Dependency)| {
                dependency.restart && names.contains(other)
            };
            if project.services[name].depends_on.iter().any(follows) {
                names.push(name.clone());
            }
        }
    }
    let mut present = standing(place, &names, session)?;
    present.sort_by_key(|member| order.iter().position(|name| *name == member.service));
    for member in present {
        let container = &member.container;
        session.engine.stop_container(&container.id, None, args.timeout)?;
        session.engine.start_container(&container.id)?;
        tell(session, "Container", &container.name, "Restarted");
    }
    Ok(0)
}

pub(super) fn kill(args: &KillArgs, place: &Place, session: &Session) -> Outcome {
    for member in standing(place, &args.services, session)? {
        let container = &member.container;
        match session.engine.kill_container(&container.id, &args.signal) {
            Ok(()) => tell(session, "Container", &container.name, "Killed"),
            Err(EngineError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}

pub(super) fn rm(args: &RmArgs, place: &Place, session: &Session) -> Outcome {
    let name = project::name(place, session)?;
    let mut present = members(session, &name, &args.services)?;
    present.retain(|member| args.stop || !member.container.state.is_running());
    if present.is_empty() {
        session.tell("No stopped containers");
        return Ok(0);
    }
    let names: Vec<_> = present.iter().map(|member| member.container.name.as_str()).collect();
    let warning = format!("Going to remove {}", names.join(", "));
    if !super::super::prune::confirmed(session, args.force, &warning)? {
        return Ok(0);
    }
    for member in &present {
        remove(session, member, None, args.volumes)?;
    }
    Ok(0)
}
