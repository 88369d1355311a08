//! `bld du`

use std::time::{Duration, SystemTime};

use bld_engine::disk::{DiskEntry, DiskFilter};
use serde_json::Value;

use super::ps::{ago, created_at};
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::{table, units};
use crate::session::{Outcome, Session};

const LAYOUT: Layout = Layout {
    headings: &[
        ("ID", "ID"),
        ("Parents", "PARENTS"),
        ("CreatedAt", "CREATED AT"),
        ("Mutable", "MUTABLE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("Description", "DESCRIPTION"),
        ("UsageCount", "USAGE COUNT"),
        ("LastUsedAt", "LAST ACCESSED"),
        ("Type", "TYPE"),
    ],
    columns: &["ID", "Reclaimable", "Size", "LastUsedAt"],
};

/// Disk usage of the store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Provide filter values
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Format the output: 'table', 'table TEMPLATE', 'pretty', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Shorthand for "--format=pretty"
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let format = match args.format.as_deref().map(str::trim) {
        Some(_) if args.verbose => {
            return Err(Failure::new("--format and --verbose cannot be used together"));
        }
        None if args.verbose => Some("pretty"),
        None | Some("") => Some("table"),
        format => format,
    };
    let Filters { filter, unused_for } = Filters::parse(&args.filter)?;
    let mut entries = session.engine.disk_usage()?;
    let recent = |entry: &DiskEntry| {
        let used = entry.used.unwrap_or(entry.created);
        unused_for.is_some_and(|age| used.elapsed().unwrap_or_default() < age)
    };
    entries.retain(|entry| filter.matches(entry) && !recent(entry));
    let mut text = match format {
        Some("table") => table(&entries),
        Some("pretty") => entries.iter().map(record).collect(),
        Some("json") => entries.iter().map(|entry| json(entry).to_string() + "\n").collect(),
        Some(format) => {
            let for_table = format.starts_with("table ");
            let rows: Vec<Row> = entries.iter().map(|entry| row(entry, for_table)).collect();
            LAYOUT.render(Some(format), &rows)?
        }
        None => String::new(),
    };
    if matches!(format, Some("table" | "pretty")) && args.filter.is_empty() {
        text.push_str(&summary(&entries));
    }
    session.print(&text)?;
    Ok(0)
}

/// What `--filter` says: one condition, and how long something must not have been used.
pub(super) struct Filters {
    pub(super) filter: DiskFilter,
    pub(super) unused_for: Option<Duration>,
}

impl Filters {
    /// Reads the values of all `--filter`s, which must all hold.
    pub(super) fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut unused_for = None;
        let mut others = Vec::new();
        for word in words {
            let until = ["until=", "unused-for="].iter().find_map(|key| word.strip_prefix(key));
            match until {
                Some(age) => {
                    unused_for = Some(units::parse_duration(age).map_err(|error| {
                        Failure::new(format!("{error} in --filter {word}"))
                            .with_hint("until= takes how long something was not used, such as 24h")
                    })?);
                }
                None => others.push(word.as_str()),
            }
        }
        let filter = DiskFilter::parse(&others.join(","))
            .map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { filter, unused_for })
    }
}

/// The entries as a table.
pub(super) fn table(entries: &[DiskEntry]) -> String {
    let rows: Vec<Row> = entries.iter().map(|entry| row(entry, true)).collect();
    LAYOUT.render(None, &rows).unwrap_or_default()
}

/// One entry as lines of its own.
pub(super) fn record(entry: &DiskEntry) -> String {
    let mut lines = vec![("ID", entry.id.clone())];
    lines.extend(entry.parents.iter().map(|parent| ("Parent", parent.clone())));
    lines.extend([
        ("Created at", created_at(entry.created)),
        ("Mutable", entry.mutable.to_string()),
        ("Reclaimable", (!entry.in_use).to_string()),
        ("Shared", entry.shared.to_string()),
        ("Size", units::size(entry.bytes, 4)),
    ]);
    if !entry.description.is_empty() {
        lines.push(("Description", entry.description.clone()));
    }
    lines.push(("Usage count", entry.uses.to_string()));
    lines.extend(entry.used.map(|used| ("Last used", ago(used, SystemTime::now()))));
    lines.push(("Type", entry.kind.to_string()));
    let lines =
        lines.into_iter().map(|(name, value)| format!("{:<14}{value}\n", format!("{name}:")));
    lines.chain(["\n".to_owned()]).collect()
}

fn row(entry: &DiskEntry, for_table: bool) -> Row {
    let star = |marked| if marked && for_table { "*" } else { "" };
    let used = entry.used.map(|used| ago(used, SystemTime::now())).unwrap_or_default();
    Row::of([
        ("ID", format!("{}{}", entry.id, star(entry.mutable)).into()),
        ("Parents", entry.parents.clone().into()),
        ("CreatedAt", created_at(entry.created).into()),
        ("Mutable", entry.mutable.into()),
        ("Reclaimable", (!entry.in_use).into()),
        ("Shared", entry.shared.into()),
        ("Size", format!("{}{}", units::size(entry.bytes, 4), star(entry.shared)).into()),
        ("Description", entry.description.clone().into()),
        ("UsageCount", entry.uses.into()),
        ("LastUsedAt", used.into()),
        ("Type", entry.kind.to_string().into()),
    ])
}

/// For programs: sizes in bytes, times as in RFC 3339.
fn json(entry: &DiskEntry) -> Value {
    let time = |time: SystemTime| jiff::Timestamp::try_from(time).map(|time| time.to_string()).ok();
    serde_json::json!({
        "ID": entry.id,
        "Parents": entry.parents,
        "CreatedAt": time(entry.created),
        "Mutable": entry.mutable,
        "Reclaimable": !entry.in_use,
        "Shared": entry.shared,
        "Size": entry.bytes.to_string(),
        "Description": entry.description,
        "UsageCount": entry.uses,
        "LastUsedAt": entry.used.and_then(time),
        "Type": entry.kind.to_string(),
    })
}

fn summary(entries: &[DiskEntry]) -> String {
    let sum = |counts: fn(&&DiskEntry) -> bool| {
        entries.iter().filter(counts).map(|entry| entry.bytes).sum::<u64>()
    };
    let (total, shared) = (sum(|_| true), sum(|entry| entry.shared));
    let mut lines = Vec::new();
    if shared > 0 {
        lines.extend([("Shared:", shared), ("Private:", total - shared)]);
    }
    lines.extend([("Reclaimable:", sum(|entry| !entry.in_use)), ("Total:", total)]);
    let cells = |(name, bytes): (&str, u64)| vec![name.to_owned(), units::size(bytes, 4)];
    table::align(&lines.into_iter().map(cells).collect::<Vec<_>>())
}
