//! `--verify`: what a second build in a fresh store made of the same.

use bld_engine::build::{BuildError, BuildRequest, BuildResult, Context, Verification};
use bld_event::{Cancel, Events};

use super::{Args, report};
use crate::commands::diff;
use crate::error::{Failure, INTERRUPTED};
use crate::progress::{Mode, Summary};
use crate::session::{Outcome, Session};
use bld_layer::harmless;

/// What there is to tell.
pub(super) struct Verified {
    ids: Vec<String>,
    /// How the images differ; empty: in nothing that counts.
    differences: String,
    /// How many times nothing fixes, in configurations and of files.
    times: (usize, usize),
}

/// Refuses what cannot be built twice.
pub(super) fn check(args: &Args, request: &BuildRequest) -> Result<(), Failure> {
    let is_stream = matches!(request.context, Context::Archive(_));
    if args.verify && is_stream {
        return Err(Failure::new(
            "--verify reads the context twice, and standard input is gone then",
        )
        .with_hint("unpack the archive and name its directory as the context"));
    }
    Ok(())
}

pub(super) fn verify(
    session: &Session,
    request: &BuildRequest,
    result: &BuildResult,
    (events, cancel): (&Events, &Cancel),
) -> Result<Verified, BuildError> {
    session.engine.verify_build(request, result, (events, cancel), |all| {
        let mut verified = Verified { ids: Vec::new(), differences: String::new(), times: (0, 0) };
        for Verification { first, second, diff, times } in all {
            let text = diff::text((first, second), diff);
            if all.len() > 1 && !text.is_empty() {
                verified.differences.extend([first.record.platform.as_str(), ":\n"]);
            }
            verified.differences += &text;
            verified.ids.push(first.record.id.to_string());
            verified.times.0 += times.created;
            // A file may be in no image and still in a layer.
            verified.times.1 += times.files.max(times.layers);
        }
        verified
    })
}

/// Prints what came out.
pub(super) fn tell(
    session: &Session,
    mode: Mode,
    verified: Result<Verified, BuildError>,
    summary: &Summary,
) -> Outcome {
    let verified = match verified {
        Ok(verified) => verified,
        Err(BuildError::Canceled) => {
            return Err(Failure::new("failed to verify: canceled").with_code(INTERRUPTED));
        }
        Err(error) => return Err(report::failed(session, &error, summary, mode != Mode::Plain)),
    };
    let Verified { ids, differences, times } = verified;
    if !differences.is_empty() {
        session.print(&harmless(&differences))?;
        return Err(Failure::new("not reproducible: a second build made another image")
            .with_hint("- is what the build made, + what it made again in a fresh store"));
    }
    if mode == Mode::Quiet {
        return Ok(0);
    }
    if times == (0, 0) {
        let ids = ids.join(", ");
        session.tell(&format!("verified: a second build in a fresh store made the same {ids}"));
    } else {
        session.tell(&format!(
            "verified: a second build in a fresh store made the same but for times: {} in the \
             configuration, {} of files\nhint: --reproducible fixes them",
            times.0, times.1
        ));
    }
    Ok(0)
}
