//! `bld doctor`

use std::fmt::Write as _;

use bld_engine::doctor::{State, examine};
use serde_json::json;

use super::version;
use crate::rootless::{Standing, settle};
use crate::session::{Outcome, Session};

/// Look at what this machine lacks for containers, and say how to get it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

/// Ends with 1 if no container runs.
pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let user = match settle(&session.engine.config().run_dir) {
        Standing::Root => None,
        Standing::Rootless(user) => Some((*user, Ok(()))),
        Standing::Refused(user, why) => Some((*user, Err(why.clone()))),
    };
    let findings = examine(user);
    let word = |state| match state {
        State::Well => "ok",
        State::Lacking => "lacking",
        State::Broken => "broken",
    };
    match args.format.as_deref().filter(|format| !format.is_empty()) {
        Some(format) => {
            for finding in &findings {
                let about = json!({
                    "Subject": finding.subject,
                    "State": word(finding.state),
                    "Detail": finding.detail,
                    "Remedy": finding.remedy.as_deref().unwrap_or_default(),
                });
                let line = match format {
                    "json" => format!("{about}\n"),
                    format => version::render(format, &about)?,
                };
                session.print(&line)?;
            }
        }
        None => {
            let mut text = String::new();
            for finding in &findings {
                let (state, subject) = (word(finding.state), finding.subject);
                let _infallible = writeln!(text, "{state:<8} {subject}: {}", finding.detail);
                if let Some(remedy) = &finding.remedy {
                    let _infallible = writeln!(text, "         -> {remedy}");
                }
            }
            session.print(&text)?;
        }
    }
    Ok(u8::from(findings.iter().any(|finding| finding.state == State::Broken)))
}
