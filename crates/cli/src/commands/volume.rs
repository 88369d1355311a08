//! `bld volume`

use std::collections::BTreeMap;

use bld_engine::volumes::Volume as Found;
use clap::Subcommand;

use super::filter::Filters;
use super::{inspect, prune};
use crate::documents;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::session::{Outcome, Session};

const LAYOUT: Layout = Layout {
    headings: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
    ],
    columns: &["Driver", "Name"],
};

/// Manage volumes
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(CreateArgs),
    Inspect(InspectArgs),
    #[command(alias = "list")]
    Ls(ListArgs),
    Prune(prune::VolumeArgs),
    #[command(alias = "remove")]
    Rm(RemoveArgs),
}

/// Create a volume
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Specify volume driver name (there is one: local)
    #[arg(short, long, value_name = "string", default_value = "local", hide_default_value = true)]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long = "name", value_name = "string", hide = true)]
    named: Option<String>,
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// Display detailed information on one or more volumes
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// List volumes
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

/// Remove one or more volumes
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

impl Volume {
    /// Runs the command of the group.
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.command {
            Command::Create(args) => create(&args, session),
            Command::Inspect(args) => {
                inspect::show(session, args.format.as_deref(), &args.names, |name| {
                    let volume = session.engine.volume(name)?;
                    Ok(inspect::Document::of(&documents::volume::document(&volume)))
                })
            }
            Command::Ls(args) => list(&args, session),
            Command::Prune(args) => prune::volumes(&args, session),
            Command::Rm(args) => session
                .each(&args.names, |name| Ok(session.engine.remove_volume(name, args.force)?)),
        }
    }
}

fn create(args: &CreateArgs, session: &Session) -> Outcome {
    if args.driver != "local" {
        return Err(Failure::new(format!("create volume: plugin {:?} not found", args.driver)));
    }
    let labels: BTreeMap<_, _> = args
        .label
        .iter()
        .map(|label| label.split_once('=').unwrap_or((label, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let volume = match args.name.as_ref().or(args.named.as_ref()) {
        Some(name) => session
            .engine
            .create_volume(name, &labels)
            .map_err(|error| Failure::from(error).about(&format!("create {name}")))?,
        None => session.engine.create_anonymous_volume()?,
    };
    session.say(&volume.name)?;
    Ok(0)
}

fn list(args: &ListArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["dangling", "driver", "label", "name"])?;
    let (names, labels, dangling) =
        (filters.all("name"), filters.labels("label"), filters.flag("dangling")?);
    let drivers = filters.all("driver");
    let mut volumes = session.engine.volumes()?;
    volumes.retain(|volume| {
        (names.is_empty() || names.iter().any(|name| volume.name.contains(name.as_str())))
            && (drivers.is_empty() || drivers.iter().any(|driver| driver == "local"))
            && labels.iter().all(|(key, value)| {
                volume
                    .labels
                    .get(key)
                    .is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
            })
    });
    if let Some(dangling) = dangling {
        let mut kept = Vec::new();
        for volume in volumes {
            if session.engine.volume_users(&volume.name)?.is_empty() == dangling {
                kept.push(volume);
            }
        }
        volumes = kept;
    }
    if args.quiet && args.format.is_none() {
        session
            .print(&volumes.iter().map(|volume| volume.name.clone() + "\n").collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = volumes.iter().map(row).collect();
    session.print(&LAYOUT.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

/// What a list shows of a volume.
pub(super) fn row(volume: &Found) -> Row {
    Row::new([
        ("Driver", "local".to_owned()),
        ("Name", volume.name.clone()),
        ("Scope", "local".to_owned()),
        ("Mountpoint", volume.data.display().to_string()),
    ])
    .with_labels(&volume.labels)
}
