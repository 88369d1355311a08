//! `bld commit`

use bld_engine::containers::CommitRequest;
use bld_event::Events;

use crate::session::{Outcome, Session};

/// Create a new image from a container's changes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    message: String,
    /// Pause container during commit (use =false to leave it running)
    #[arg(short, long, default_value = "true")]
    pause: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

pub(crate) fn run(args: Args, session: &Session) -> Outcome {
    let request = CommitRequest {
        container: args.container,
        reference: args.reference,
        author: args.author,
        message: args.message,
        changes: args.change,
        pause: args.pause,
    };
    let id = session.engine.commit_container(&request, &Events::none())?;
    session.say(&id.to_string())?;
    Ok(0)
}
