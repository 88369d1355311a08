//! `bld ps`

use std::time::SystemTime;

use bld_engine::containers::{Container, ContainerFilter, HealthStatus, MountSource, Status};

use super::filter::Filters;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::ports;
use crate::output::units;
use crate::session::{Outcome, Session};

/// Widest command of the table.
const COMMAND_WIDTH: usize = 20;
/// Widest name of a mount.
const MOUNT_WIDTH: usize = 15;

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    columns: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
};

const WITH_SIZE: Layout = Layout {
    headings: LAYOUT.headings,
    columns: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"],
};

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let containers = session.engine.containers(&filter(args)?)?;
    if args.quiet && args.format.is_none() {
        let id = |c: &Container| {
            format!("{}\n", if args.no_trunc { c.id.clone() } else { c.short_id() })
        };
        session.print(&containers.iter().map(id).collect::<String>())?;
        return Ok(0);
    }
    let wants_size =
        args.size || args.format.as_ref().is_some_and(|format| format.contains(".Size"));
    let mut rows = Vec::with_capacity(containers.len());
    for container in &containers {
        let size = if wants_size { size(container, session)? } else { String::new() };
        rows.push(row(container, args.no_trunc, size));
    }
    let layout = if args.size { &WITH_SIZE } else { &LAYOUT };
    session.print(&layout.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

fn filter(args: &Args) -> Result<ContainerFilter, Failure> {
    const KNOWN: [&str; 11] = [
        "id", "name", "label", "exited", "status", "ancestor", "before", "since", "volume",
        "network", "health",
    ];
    let filters = Filters::parse(&args.filter, &KNOWN)?;
    let status = |name: String| match name.as_str() {
        "created" => Ok(Some(Status::Created)),
        "running" => Ok(Some(Status::Running)),
        "paused" => Ok(Some(Status::Paused)),
        "restarting" => Ok(Some(Status::Restarting)),
        "exited" => Ok(Some(Status::Exited)),
        // States that containers pass too quickly here to be seen in.
        "removing" | "dead" => Ok(None),
        _ => Err(Failure::new(format!("invalid filter 'status={name}'"))),
    };
    let code = |text: String| {
        text.parse().map_err(|_| Failure::new(format!("invalid filter 'exited={text}'")))
    };
    let health = filters.all("health").iter().map(|word| parse_health(word)).collect();
    let health: Result<Vec<_>, Failure> = health;
    let last = args.last.and_then(|last| usize::try_from(last).ok()).filter(|last| *last > 0);
    let states = filters.all("status").into_iter().map(status).collect::<Result<Vec<_>, _>>()?;
    let impossible = !states.is_empty() && states.iter().all(Option::is_none);
    Ok(ContainerFilter {
        all: args.all,
        last: if args.latest { Some(1) } else { last },
        ids: if impossible { vec!["none".to_owned()] } else { filters.all("id") },
        names: filters.all("name"),
        labels: filters.labels("label"),
        exited: filters.all("exited").into_iter().map(code).collect::<Result<_, _>>()?,
        status: states.into_iter().flatten().collect(),
        ancestors: filters.all("ancestor"),
        before: filters.last("before").map(str::to_owned),
        since: filters.last("since").map(str::to_owned),
        volumes: filters.all("volume"),
        networks: filters.all("network"),
        health: health?,
    })
}

fn parse_health(word: &str) -> Result<Option<HealthStatus>, Failure> {
    match word {
        "starting" => Ok(Some(HealthStatus::Starting)),
        "healthy" => Ok(Some(HealthStatus::Healthy)),
        "unhealthy" => Ok(Some(HealthStatus::Unhealthy)),
        "none" => Ok(None),
        _ => Err(Failure::new(format!("invalid filter 'health={word}'"))
            .with_hint("the values are starting, healthy, unhealthy and none")),
    }
}

/// What a list shows of a container.
pub(super) fn row(container: &Container, whole: bool, size: String) -> Row {
    let now = SystemTime::now();
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| mount_name(&mount.source, whole))
        .filter(|n| !n.is_empty())
        .collect();
    let volumes =
        container.mounts.iter().filter(|m| matches!(m.source, MountSource::Volume { .. })).count();
    let command = shown_command(container, whole);
    Row::new([
        ("ID", if whole { container.id.clone() } else { container.short_id() }),
        ("Names", container.name.clone()),
        ("Image", image(container, whole)),
        ("Command", format!("\"{command}\"")),
        ("CreatedAt", created_at(container.created)),
        ("RunningFor", ago(container.created, now)),
        ("Ports", ports::column(container)),
        ("State", container.state.status.name().to_owned()),
        ("Status", status(container, now)),
        ("HealthStatus", health_word(container)),
        ("Size", size),
        ("Mounts", mounts.join(",")),
        ("LocalVolumes", volumes.to_string()),
        ("Networks", networks(container)),
        ("Platform", container.platform.clone()),
    ])
    .with_labels(&container.config.labels)
}

/// The command line as lists show it, cut unless the `whole` is wanted.
pub(super) fn shown_command(container: &Container, whole: bool) -> String {
    let command = command(container);
    if whole { command } else { ellipsis(&command, COMMAND_WIDTH) }
}

/// The image as it was called, cut to a short id when it was called by id.
fn image(container: &Container, whole: bool) -> String {
    let name = container.image_name.trim_start_matches("sha256:");
    let is_id = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id && !whole { name.chars().take(12).collect() } else { container.image_name.clone() }
}

/// The command line, with quotes around words that need them.
fn command(container: &Container) -> String {
    let quote = |word: String| {
        if word.chars().any(char::is_whitespace) || word.is_empty() {
            format!("'{word}'")
        } else {
            word
        }
    };
    container.command().into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn health_word(container: &Container) -> String {
    let health = container.state.health.as_ref();
    health.map_or("none", |health| health.status.name()).to_owned()
}

/// How well a container is, behind what it does.
fn health(container: &Container) -> &'static str {
    match container.state.health.as_ref().map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// What a container does, in words.
pub(super) fn status(container: &Container, now: SystemTime) -> String {
    let state = &container.state;
    let since = |time: Option<SystemTime>| {
        units::duration(time.and_then(|time| now.duration_since(time).ok()).unwrap_or_default())
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}{}", since(state.started), health(container)),
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished))
        }
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

/// How long ago.
pub(super) fn ago(time: SystemTime, now: SystemTime) -> String {
    format!("{} ago", units::duration(now.duration_since(time).unwrap_or_default()))
}

/// A time in the form of Go's `Time.String`, in local time.
pub(super) fn created_at(time: SystemTime) -> String {
    let Ok(timestamp) = jiff::Timestamp::try_from(time) else { return String::new() };
    let local = timestamp.to_zoned(jiff::tz::TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// The networks a container is on.
fn networks(container: &Container) -> String {
    if container.host.network.is_bridged() {
        return container.networks.keys().cloned().collect::<Vec<_>>().join(",");
    }
    container.host.network.name()
}

fn mount_name(source: &MountSource, whole: bool) -> String {
    let name = match source {
        MountSource::Bind { path, .. } => path.display().to_string(),
        MountSource::Volume { name, .. } | MountSource::Image { name, .. } => name.clone(),
        MountSource::Tmpfs { .. } => String::new(),
    };
    if whole { name } else { ellipsis(&name, MOUNT_WIDTH) }
}

/// What the container has written, and that together with its image.
fn size(container: &Container, session: &Session) -> Result<String, Failure> {
    let own = session.engine.container_size(container)?;
    let image =
        session.engine.find_image(&container.image.to_string()).map_or(0, |image| image.size);
    Ok(format!("{} (virtual {})", units::size(own, 3), units::size(own + image, 3)))
}

#[cfg(test)]
mod tests {
    use super::ellipsis;

    #[test]
    fn long_commands_are_cut() {
        assert_eq!(ellipsis("echo a long command that", 20), "echo a long command…");
        assert_eq!(ellipsis("short", 20), "short");
    }
}
