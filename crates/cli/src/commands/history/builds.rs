//! `bld history ls`, `logs` and `rm`: the builds that ran here.

use std::thread;
use std::time::{Duration, SystemTime};

use bld_engine::history::{BuildRecord, Status};
use serde_json::json;

use super::super::ps::ago;
use crate::error::Failure;
use crate::output::list::{Layout, Row};
use crate::output::units::parse_duration;
use crate::progress::{Mode, Replay};
use crate::session::{Outcome, Session};

/// How often a build that runs is asked for what is new.
const PAUSE: Duration = Duration::from_millis(100);

/// Widest name in the table.
const NAME_WIDTH: usize = 36;

const LAYOUT: Layout = Layout {
    headings: &[
        ("Ref", "BUILD ID"),
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("CreatedAt", "CREATED AT"),
        ("Duration", "DURATION"),
    ],
    columns: &["Ref", "Name", "Status", "CreatedAt", "Duration"],
};

/// List build records
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Provide filter values (e.g., "status=error", "ref!=REF", "duration>30s", "startedAt>1h")
    #[arg(long, value_name = "stringArray")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
}

/// Print the logs of a build record
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Set type of progress output (plain, rawjson)
    #[arg(long, value_name = "string", default_value = "plain")]
    progress: Mode,
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

/// Remove build records
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Remove all build records
    #[arg(long)]
    all: bool,
    #[arg(value_name = "REF")]
    references: Vec<String>,
}

pub(crate) fn list(args: &ListArgs, session: &Session) -> Outcome {
    let filters: Vec<Filter<'_>> =
        args.filter.iter().map(|word| Filter::parse(word)).collect::<Result<_, _>>()?;
    let mut builds = session.engine.builds()?;
    builds.retain(|build| filters.iter().all(|filter| filter.takes(build)));
    // Those that run come first, as with buildx.
    builds.sort_by_key(|build| build.ended.is_some());
    if args.format.as_deref() == Some("json") {
        let lines = builds.iter().map(|build| document(build) + "\n");
        session.print(&lines.collect::<String>())?;
        return Ok(0);
    }
    let is_table = args.format.as_deref().is_none_or(|format| format.starts_with("table"));
    let now = SystemTime::now();
    let rows = builds.iter().map(|build| {
        let name = &build.begin.name;
        Row::new([
            ("Ref", build.reference.clone()),
            ("Name", if is_table && !args.no_trunc { end_of(name) } else { name.clone() }),
            ("Status", word(build.status).to_owned()),
            ("CreatedAt", ago(build.began, now)),
            ("Duration", duration(build)),
        ])
    });
    session.print(&LAYOUT.render(args.format.as_deref(), &rows.collect::<Vec<_>>())?)?;
    Ok(0)
}

pub(crate) fn logs(args: &LogsArgs, session: &Session) -> Outcome {
    let build = session.engine.find_build(args.reference.as_deref().unwrap_or_default())?;
    let mut follower = session.engine.follow_build(&build)?;
    let mut replay = Replay::new(args.progress);
    loop {
        // Asked first: what comes after the last event that is read now was not there before.
        let is_live = follower.is_live()?;
        for event in follower.events()? {
            replay.event(&event)?;
        }
        if !is_live {
            break;
        }
        thread::sleep(PAUSE);
    }
    replay.finish()?;
    Ok(0)
}

pub(crate) fn remove(args: &RemoveArgs, session: &Session) -> Outcome {
    match (args.references.is_empty(), args.all) {
        (true, false) => return Err(Failure::new("rm requires at least one argument")),
        (false, true) => {
            return Err(Failure::new("rm requires either --all or at least one argument"));
        }
        _ => {}
    }
    if args.all {
        for build in session.engine.builds()? {
            session.engine.remove_build(&build)?;
        }
        return Ok(0);
    }
    session.try_each(&args.references, |reference| {
        let build = session.engine.find_build(reference)?;
        if session.engine.remove_build(&build)? {
            Ok(())
        } else {
            Err(Failure::new(format!("build {} still runs", build.reference)))
        }
    })
}

/// The state in buildx's words.
fn word(status: Status) -> &'static str {
    match status {
        Status::Running => "Running",
        Status::Completed => "Completed",
        Status::Failed | Status::Canceled => "Error",
    }
}

/// How long it took, in buildx's form; a plus says that it goes on.
pub(super) fn duration(build: &BuildRecord) -> String {
    let took = build.duration();
    let text = if took < Duration::from_mins(1) {
        format!("{:.1}s", took.as_secs_f64())
    } else {
        format!("{}m {:2}s", took.as_secs() / 60, took.as_secs() % 60)
    };
    if build.ended.is_none() { text + "+" } else { text }
}

/// The end of a long name, which tells more than its beginning.
fn end_of(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_WIDTH {
        return name.to_owned();
    }
    "..".chars().chain(name.chars().skip(length - NAME_WIDTH + 2)).collect()
}

fn document(build: &BuildRecord) -> String {
    let mut document = json!({
        "ref": build.reference,
        "name": build.begin.name,
        "status": word(build.status),
        "created_at": super::time(build.began),
        "total_steps": build.steps.total,
        "completed_steps": build.steps.completed,
        "cached_steps": build.steps.cached,
    });
    if let Some(ended) = build.ended {
        document["completed_at"] = super::time(ended).into();
    }
    document.to_string()
}

/// One `--filter`.
struct Filter<'a> {
    key: &'a str,
    operator: &'a str,
    value: &'a str,
    /// The value of a key that can be more or less, in nanoseconds.
    amount: Option<u128>,
}

impl<'a> Filter<'a> {
    fn parse(word: &'a str) -> Result<Self, Failure> {
        let operators = ["!=", "<=", ">=", "=", "<", ">"];
        let found = operators.iter().filter_map(|operator| Some((word.find(operator)?, *operator)));
        let Some((at, operator)) = found.min_by_key(|(at, operator)| (*at, 2 - operator.len()))
        else {
            return Err(Failure::new(format!("invalid filter {word:?}")));
        };
        let (key, value) = (&word[..at], &word[at + operator.len()..]);
        let is_equality = ["=", "!="].contains(&operator);
        match key {
            "ref" | "status" if is_equality => Ok(Self { key, operator, value, amount: None }),
            "ref" | "status" => {
                Err(Failure::new(format!("invalid separator for {word:?}, expected = or !=")))
            }
            "startedAt" | "completedAt" | "duration" if is_equality => Err(Failure::new(format!(
                "invalid separator for {word:?}, expected <=, <, >= or >"
            ))),
            "startedAt" | "completedAt" | "duration" => {
                let amount = amount(key, value)
                    .ok_or_else(|| Failure::new(format!("invalid time {value:?} in {word:?}")))?;
                Ok(Self { key, operator, value, amount: Some(amount) })
            }
            _ => Err(Failure::new(format!("unsupported filter {word:?}"))),
        }
    }

    fn takes(&self, build: &BuildRecord) -> bool {
        let is = match self.key {
            "ref" => build.reference == self.value,
            "status" => {
                self.value
                    == match build.status {
                        Status::Running => "running",
                        Status::Completed => "completed",
                        Status::Failed => "error",
                        Status::Canceled => "canceled",
                    }
            }
            _ => return self.compares(build),
        };
        is == (self.operator == "=")
    }

    fn compares(&self, build: &BuildRecord) -> bool {
        let own = match self.key {
            "startedAt" => Some(nanoseconds(build.began)),
            "completedAt" => build.ended.map(nanoseconds),
            _ => Some(build.duration().as_nanos()),
        };
        let (Some(own), Some(amount)) = (own, self.amount) else { return false };
        match self.operator {
            "<" => own < amount,
            "<=" => own <= amount,
            ">" => own > amount,
            _ => own >= amount,
        }
    }
}

/// A duration, or a time: a duration before now, or a date.
fn amount(key: &str, value: &str) -> Option<u128> {
    let span = parse_duration(value).ok();
    if key == "duration" {
        return span.map(|span| span.as_nanos());
    }
    match span {
        Some(span) => Some(nanoseconds(SystemTime::now().checked_sub(span)?)),
        None => Some(nanoseconds(value.parse::<jiff::Timestamp>().ok()?.into())),
    }
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_with_their_operators() {
        let read = |word| {
            Filter::parse(word)
                .map(|filter| (filter.key.to_owned(), filter.operator.to_owned()))
                .ok()
        };
        assert_eq!(read("status!=error"), Some(("status".to_owned(), "!=".to_owned())));
        assert_eq!(read("duration>=30s"), Some(("duration".to_owned(), ">=".to_owned())));
        assert_eq!(read("duration=30s"), None);
        assert_eq!(read("ref<x"), None);
        assert_eq!(read("nosuch=x"), None);
        assert_eq!(read("duration>soon"), None);
    }
}
