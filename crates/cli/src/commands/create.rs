//! `bld create`

use std::fs;

use bld_engine::containers::{Container, CreateRequest};
use bld_event::Events;

use super::options::Options;
use super::pull;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Create a new container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Everything from the image on is the container's, whatever it looks like.
    #[arg(required = true, value_names = ["IMAGE", "COMMAND", "ARG"], num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let request = args.options.request(&args.words)?;
    let container = create(session, &args.options, &request)?;
    session.say(&container.id)?;
    Ok(0)
}

/// Makes a container, pulling its image first if that is missing.
pub(super) fn create(
    session: &Session,
    options: &Options,
    request: &CreateRequest,
) -> Result<Container, Failure> {
    if let Some(file) = &options.cidfile
        && file.exists()
    {
        return Err(Failure::new(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            file.display()
        )));
    }
    for note in options.without_effect(&request.host.limits) {
        session.tell(&note);
    }
    let make = || {
        pull::for_container(session, &request.image, options)?;
        Ok(session.engine.create_container(request, &Events::none())?)
    };
    let container: Container = make().or_else(|failure: Failure| {
        if session.engine.drop_damaged(&Events::none())?.is_empty() {
            return Err(failure);
        }
        // The image is gone with what was damaged of it, and may be pulled.
        failure.print("Warning: ");
        make()
    })?;
    if let Some(file) = &options.cidfile {
        fs::write(file, &container.id).map_err(|error| {
            Failure::new(format!("failed to create the container ID file: {error}"))
        })?;
    }
    Ok(container)
}
