//! `compose ps`, `config`, `images`, `port` and `top`.

use std::time::SystemTime;

use bld_engine::containers::{Container, Status};
use serde_json::{Value, json};

use super::Place;
use super::project::{self, Member, members};
use super::service::image;
use crate::commands::ps;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::{ports, table, units};
use crate::session::{Outcome, Session};

const PS: Layout = Layout {
    headings: &[
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("Service", "SERVICE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("ID", "CONTAINER ID"),
        ("State", "STATE"),
        ("Health", "HEALTH"),
        ("ExitCode", "EXIT CODE"),
        ("Project", "PROJECT"),
    ],
    columns: &["Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports"],
};

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct PsArgs {
    /// Show all stopped containers (including those created by the run command)
    #[arg(short, long)]
    all: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display services
    #[arg(long)]
    services: bool,
    /// Filter services by status (created, running, paused, restarting or exited)
    #[arg(long, value_name = "stringArray")]
    status: Vec<String>,
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

/// Parse, resolve and render compose file in canonical format
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Format the output ("yaml" or "json")
    #[arg(long, value_name = "string", default_value = "yaml", hide_default_value = true)]
    format: Format,
    /// Print the image names, one per line
    #[arg(long)]
    images: bool,
    /// Print the network names, one per line
    #[arg(long)]
    networks: bool,
    /// Only validate the configuration, don't print anything
    #[arg(short, long)]
    quiet: bool,
    /// Print the service names, one per line
    #[arg(long)]
    services: bool,
    /// Print the volume names, one per line
    #[arg(long)]
    volumes: bool,
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Yaml,
    Json,
}

/// List images used by the created containers
#[derive(Debug, clap::Args)]
pub(super) struct ImagesArgs {
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

/// Print the public port for a port binding
#[derive(Debug, clap::Args)]
pub(super) struct PortArgs {
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "int", default_value_t = 1)]
    index: u32,
    /// tcp or udp
    #[arg(long, value_name = "string", default_value = "tcp")]
    protocol: String,
    #[arg(value_name = "SERVICE")]
    service: String,
    #[arg(value_name = "PRIVATE_PORT")]
    port: u16,
}

/// Display the running processes
#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    #[arg(value_name = "SERVICE")]
    names: Vec<String>,
}

pub(super) fn ps(args: &PsArgs, place: &Place, session: &Session) -> Outcome {
    let name = project::name(place, session)?;
    let mut present = members(session, &name, &args.names)?;
    present.retain(|member| {
        let status = member.container.state.status;
        let all = args.all || !args.status.is_empty();
        (all || (member.container.state.is_running() && !member.one_off))
            && (args.status.is_empty() || args.status.iter().any(|word| word == status.name()))
    });
    if args.services {
        let mut names: Vec<_> = present.iter().map(|member| member.service.as_str()).collect();
        names.dedup();
        session.print(&lines(&names))?;
        return Ok(0);
    }
    if args.quiet {
        let ids = present.iter().map(|member| format!("{}\n", member.container.id));
        session.print(&ids.collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = present.iter().map(|member| row(member, &name, args.no_trunc)).collect();
    session.print(&PS.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

/// Each in a line of its own.
fn lines<T: AsRef<str>>(names: &[T]) -> String {
    let mut text = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n");
    if !names.is_empty() {
        text.push('\n');
    }
    text
}

fn row(member: &Member, project: &str, whole: bool) -> Row {
    let container = &member.container;
    let now = SystemTime::now();
    let text = |text: String| Value::String(text);
    let health = container.state.health.as_ref().map(|health| health.status.name());
    let ended = container.state.status == Status::Exited;
    Row::of([
        ("ID", text(if whole { container.id.clone() } else { container.short_id() })),
        ("Name", text(container.name.clone())),
        ("Names", text(container.name.clone())),
        ("Image", text(container.image_name.clone())),
        ("Command", text(format!("\"{}\"", ps::shown_command(container, whole)))),
        ("Project", text(project.to_owned())),
        ("Service", text(member.service.clone())),
        ("CreatedAt", text(ps::created_at(container.created))),
        ("RunningFor", text(ps::ago(container.created, now))),
        ("State", text(container.state.status.name().to_owned())),
        ("Status", text(ps::status(container, now))),
        ("Health", text(health.unwrap_or_default().to_owned())),
        ("ExitCode", json!(if ended { container.state.exit_code } else { 0 })),
        ("Ports", text(ports::column(container))),
        ("Publishers", publishers(container)),
    ])
    .with_labels(&container.config.labels)
}

fn publishers(container: &Container) -> Value {
    let publisher = |published: &bld_engine::containers::Published| {
        json!({
            "URL": published.host.ip().to_string(),
            "TargetPort": published.port,
            "PublishedPort": published.host.port(),
            "Protocol": published.protocol.to_string(),
        })
    };
    container.ports.iter().map(publisher).collect()
}

pub(super) fn config(args: &ConfigArgs, place: &Place, session: &Session) -> Outcome {
    let mut project = project::read(place, &args.names, session)?;
    if !args.names.is_empty() {
        project.services.retain(|name, _| args.names.contains(name));
    }
    let text = if args.quiet {
        String::new()
    } else if args.services {
        lines(&project.order().map_err(|error| Failure::new(error.to_string()))?)
    } else if args.volumes {
        lines(&project.volumes.keys().map(String::as_str).collect::<Vec<_>>())
    } else if args.networks {
        lines(&project.networks.keys().map(String::as_str).collect::<Vec<_>>())
    } else if args.images {
        let images = project.services.iter();
        let images = images.map(|(name, service)| image(&project, name, service));
        lines(&images.collect::<Vec<_>>())
    } else if args.format == Format::Json {
        serde_json::to_string_pretty(&project).map_err(|error| Failure::new(error.to_string()))?
            + "\n"
    } else {
        serde_saphyr::to_string(&project).map_err(|error| Failure::new(error.to_string()))?
    };
    session.print(&text)?;
    Ok(0)
}

pub(super) fn images(args: &ImagesArgs, place: &Place, session: &Session) -> Outcome {
    const HEADINGS: [&str; 6] = ["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE"];
    let name = project::name(place, session)?;
    let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
    for member in members(session, &name, &args.names)? {
        let container = &member.container;
        let found = session.engine.find_image(&container.image.to_string());
        let size = found.map_or(0, |image| image.size);
        let id = container.image.hex();
        if args.quiet {
            session.say(&id)?;
            continue;
        }
        let whole = container.image_name.clone();
        let (repository, tag) = match whole.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => {
                (repository.to_owned(), tag.to_owned())
            }
            _ => (whole, "latest".to_owned()),
        };
        lines.push(vec![
            container.name.clone(),
            repository,
            tag,
            container.platform.clone(),
            id.chars().take(12).collect(),
            units::size(size, 3),
        ]);
    }
    if !args.quiet {
        session.print(&table::align(&lines))?;
    }
    Ok(0)
}

pub(super) fn port(args: &PortArgs, place: &Place, session: &Session) -> Outcome {
    let name = project::name(place, session)?;
    let service = &args.service;
    let present = members(session, &name, std::slice::from_ref(service))?;
    let member = present.iter().find(|member| !member.one_off && member.number == args.index);
    let missing = || Failure::new(format!("service {service:?} is not running"));
    let container = &member.ok_or_else(missing)?.container;
    let wanted = format!("{}/{}", args.port, args.protocol);
    let hosts = ports::by_port(container).remove(&wanted).unwrap_or_default();
    let none = || Failure::new(format!("no port {wanted} for container {}", container.name));
    let host = hosts.first().ok_or_else(none)?.host;
    session.say(&ports::address(host.ip(), host.port()))?;
    Ok(0)
}

pub(super) fn top(args: &TopArgs, place: &Place, session: &Session) -> Outcome {
    let name = project::name(place, session)?;
    let mut lines = Vec::new();
    for member in members(session, &name, &args.names)? {
        if !member.container.state.is_running() {
            continue;
        }
        let found = session.engine.container_processes(&member.container.id, &[])?;
        let own = |cells: Vec<String>, service: &str, number: &str| {
            [vec![service.to_owned(), number.to_owned()], cells].concat()
        };
        if lines.is_empty() {
            lines.push(own(found.titles, "SERVICE", "#"));
        }
        let number = member.number.to_string();
        lines.extend(found.rows.into_iter().map(|row| own(row, &member.service, &number)));
    }
    session.print(&table::align(&lines))?;
    Ok(0)
}
