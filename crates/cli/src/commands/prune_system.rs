//! `bld system prune`

use std::fmt::Write as _;

use bld_engine::disk::PruneRule;

use super::filter::Filters;
use super::prune::{self, Taken};
use super::{network, prune::confirmed};
use crate::error::Failure;
use crate::output::units;
use crate::session::{Outcome, Session};

/// Remove unused data
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    if args.volumes && filters.last("until").is_some() {
        return Err(Failure::new(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    // Before anything is removed.
    filters.time("until")?;
    if !confirmed(session, args.force, &warning(args))? {
        return Ok(0);
    }
    let mut bytes = 0;
    let mut report = |taken: Taken| {
        bytes += taken.bytes;
        session.print(&taken.text)
    };
    report(prune::take_containers(&filters, session)?)?;
    report(network::take(&filters, session)?)?;
    if args.volumes {
        report(prune::take_volumes(false, &filters, session)?)?;
    }
    report(prune::take_images(args.all, &filters, session)?)?;
    report(take_cache(args.all, &filters, session)?)?;
    session.say(&format!("Total reclaimed space: {}", units::size(bytes, 4)))?;
    Ok(0)
}

fn warning(args: &Args) -> String {
    let kinds = [
        (true, "all stopped containers"),
        (true, "all networks not used by at least one container"),
        (args.volumes, "all anonymous volumes not used by at least one container"),
        (args.all, "all images without at least one container associated to them"),
        (!args.all, "all dangling images"),
        (args.all, "all build cache"),
        (!args.all, "unused build cache"),
    ];
    let mut text = "This will remove:\n".to_owned();
    for (_, kind) in kinds.iter().filter(|(goes, _)| *goes) {
        let _infallible = writeln!(text, "  - {kind}");
    }
    if !args.filter.is_empty() {
        let mut filters = args.filter.clone();
        filters.sort();
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in filters {
            let _infallible = writeln!(text, "  - {filter}");
        }
    }
    text
}

/// Removes the build cache. Nothing of it has labels.
fn take_cache(all: bool, filters: &Filters, session: &Session) -> Result<Taken, Failure> {
    if !filters.all("label").is_empty() {
        return Ok(Taken::default());
    }
    let until = filters.time("until")?;
    let rule = PruneRule {
        all,
        keep_duration: until.map(|time| time.elapsed().unwrap_or_default()),
        ..PruneRule::default()
    };
    let pruned = session.engine.prune_cache(&[rule], false)?;
    let ids: Vec<String> = pruned.entries.into_iter().map(|entry| entry.id).collect();
    Ok(Taken::new("Deleted build cache objects", &ids, pruned.bytes))
}
