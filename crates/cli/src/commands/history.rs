//! `bld history`: of an image, or of the builds that ran here.

mod builds;
mod carry;
pub(super) mod inspect;
mod trace;

use std::time::SystemTime;

use clap::Subcommand;

use bld_engine::images::HistoryEntry;

use super::ps::ago;
use super::pull::platform;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::units;
use crate::session::{Outcome, Session};

/// Widest command of the table.
const COMMAND_WIDTH: usize = 45;

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    columns: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
};

/// Show the history of an image, or of builds
///
/// The first word is an image, unless it is ls, inspect, logs, rm, export or import: these are about the
/// builds that ran here. An image of such a name is shown by "bld image history".
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Top {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    image: Option<Args>,
}

/// Work with build records
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true)]
pub(crate) struct Builds {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Export(carry::ExportArgs),
    Import(carry::ImportArgs),
    Inspect(inspect::Args),
    Logs(builds::LogsArgs),
    #[command(alias = "list")]
    Ls(builds::ListArgs),
    #[command(alias = "remove")]
    Rm(builds::RemoveArgs),
}

impl Top {
    /// Runs what was asked for.
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match (&self.verb, &self.image) {
            (Some(verb), _) => verb.run(session),
            (None, Some(image)) => run(image, session),
            (None, None) => Err(Failure::new(
                "an image or one of ls, inspect, logs, rm, export and import is needed",
            )),
        }
    }
}

impl Builds {
    /// Runs the command of the group.
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        self.verb.run(session)
    }
}

impl Verb {
    fn run(&self, session: &Session) -> Outcome {
        match self {
            Self::Export(args) => carry::export(args, session),
            Self::Import(args) => carry::import(args, session),
            Self::Inspect(args) => inspect::run(args, session),
            Self::Logs(args) => builds::logs(args, session),
            Self::Ls(args) => builds::list(args, session),
            Self::Rm(args) => builds::remove(args, session),
        }
    }
}

/// RFC 3339 with nanoseconds.
fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Show the history of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Print sizes and dates in human readable format (use =false to turn it off)
    #[arg(short = 'H', long, default_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show the history of the image for this platform, of those that the name stands for
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let platform = platform(args.platform.as_deref())?;
    let history = session.engine.image_history_for(&args.image, platform.as_ref())?;
    let id = |entry: &HistoryEntry| match entry.id {
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => id.short(),
        None => "<missing>".to_owned(),
    };
    if args.quiet && args.format.is_none() {
        session.print(&history.iter().map(|entry| id(entry) + "\n").collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = history.iter().map(|entry| row(entry, id(entry), args)).collect();
    session.print(&LAYOUT.render(args.format.as_deref(), &rows)?)?;
    Ok(0)
}

fn row(entry: &HistoryEntry, id: String, args: &Args) -> Row {
    let created = entry.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let at =
        created.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    let since = match (created, args.human) {
        (Some(time), true) => ago(time.into(), SystemTime::now()),
        (Some(_), false) => at.clone(),
        (None, _) => "N/A".to_owned(),
    };
    let command = entry.created_by.replace('\t', " ");
    let command = if args.no_trunc || command.chars().count() <= COMMAND_WIDTH {
        command
    } else {
        command.chars().take(COMMAND_WIDTH - 1).chain(['…']).collect()
    };
    Row::new([
        ("ID", id),
        ("CreatedSince", since),
        ("CreatedAt", at),
        ("CreatedBy", command),
        ("Size", if args.human { units::size(entry.size, 3) } else { entry.size.to_string() }),
        ("Comment", entry.comment.clone()),
    ])
}
