//! `bld logs`

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;

use bld_engine::EngineError;
use bld_engine::containers::LogQuery;
use bld_engine::steps::BuildStep;
use bld_event::Stream;

use super::filter::time;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Fetch the logs of a container, or of a step of a build
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show extra details provided to logs (there are none)
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(
        short = 'n',
        long,
        value_name = "string",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string")]
    until: Option<String>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// What a step wrote, in one piece: nobody has noted when, and to which stream.
fn step(step: &BuildStep, tail: Option<usize>) -> Outcome {
    let Some(path) = &step.log else { return Ok(0) };
    let log = fs::read(path)
        .map_err(|error| Failure::new(format!("read {}: {error}", path.display())))?;
    let mut lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    if let Some(tail) = tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    io::stdout().lock().write_all(&lines.concat())?;
    Ok(0)
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let when = |text: &Option<String>| text.as_deref().map(time).transpose().map_err(Failure::new);
    let query = LogQuery {
        follow: args.follow,
        // As docker: what is no number, or a negative one, means everything.
        tail: args.tail.parse().ok(),
        since: when(&args.since)?,
        until: when(&args.until)?,
        ..LogQuery::default()
    };
    if let Err(error @ EngineError::NoSuchContainer { .. }) =
        session.engine.find_container(&args.container)
    {
        return match session.engine.find_step(&args.container) {
            Ok(found) => step(&found, query.tail),
            Err(EngineError::NoSuchStep { .. }) => Err(error.into()),
            Err(other) => Err(other.into()),
        };
    }
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let mut broken = None;
    session.engine.container_logs(&args.container, &query, &mut |entry| {
        let mut text = String::new();
        if args.timestamps {
            let at = jiff::Timestamp::try_from(entry.time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            text = format!("{at:.9} ");
        }
        text.push_str(&entry.text);
        let written = match entry.stream {
            Stream::Stdout => out.write_all(text.as_bytes()).and_then(|()| out.flush()),
            Stream::Stderr => err.write_all(text.as_bytes()),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(0), |error| Err(error.into()))
}
