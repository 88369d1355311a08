//! `bld rmi`

use bld_engine::EngineError;
use bld_engine::images::Removed;
use bld_oci::Platform;

use crate::error::{Failure, describe};
use crate::session::{Outcome, Session};

/// Remove one or more images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Force the removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents (there are none here)
    #[arg(long)]
    no_prune: bool,
    /// Remove only the images for these platforms, of those that a name stands for
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    platform: Vec<String>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let platforms = args.platform.iter().map(|text| Platform::parse(text));
    let platforms: Vec<_> =
        platforms.collect::<Result<_, _>>().map_err(|error| Failure::new(describe(&error)))?;
    let remove = |name: &str| match platforms.as_slice() {
        [] => session.engine.remove_image(name, args.force),
        platforms => session.engine.remove_platforms(name, platforms, args.force),
    };
    session.try_each(&args.images, |name| match remove(name) {
        Ok(removed) => session.print(&removed.iter().map(line).collect::<String>()),
        // As docker: said, but no failure.
        Err(error @ EngineError::NoSuchImage { .. }) if args.force => {
            Err(Failure::from(error).with_code(0))
        }
        Err(error) => Err(error.into()),
    })
}

/// What a removal did, as a line.
pub(super) fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {name}\n"),
        Removed::Deleted(id) => format!("Deleted: {id}\n"),
    }
}
