//! `bld logs`

use std::io::{self, Write};
use std::ops::ControlFlow;

use bld_engine::containers::LogQuery;
use bld_event::Stream;

use super::filter::time;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Fetch the logs of a container
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

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let when = |text: &Option<String>| text.as_deref().map(time).transpose().map_err(Failure::new);
    let query = LogQuery {
        follow: args.follow,
        // As docker: what is no number, or a negative one, means everything.
        tail: args.tail.parse().ok(),
        since: when(&args.since)?,
        until: when(&args.until)?,
    };
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
