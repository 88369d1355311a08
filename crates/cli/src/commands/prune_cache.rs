//! `bld prune`

use bld_engine::disk::PruneRule;

use super::du::{self, Filters};
use super::prune::confirmed;
use crate::error::Failure;
use crate::output::units;
use crate::session::{Outcome, Session};

/// Remove build cache
///
/// Builds do so by themselves when the cache has reached its limits, which the table [gc] of bld.toml
/// changes ("/etc/bld/bld.toml" as root, or BLD_CONFIG).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Include what is internal: what failed steps left
    #[arg(short, long)]
    all: bool,
    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Provide filter values
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Maximum amount of disk space allowed to keep for cache
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true)]
    max_used_space: String,
    /// Target amount of free disk space after pruning
    #[arg(long, value_name = "bytes", default_value = "0", hide_default_value = true)]
    min_free_space: String,
    /// Amount of disk space always allowed to keep for cache
    #[arg(
        long,
        value_name = "bytes",
        alias = "keep-storage",
        default_value = "0",
        hide_default_value = true
    )]
    reserved_space: String,
    /// Provide a more verbose output
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let Filters { filter, unused_for } = Filters::parse(&args.filter)?;
    let rule = PruneRule {
        all: args.all,
        filters: Some(filter).filter(|filter| !filter.is_empty()).into_iter().collect(),
        keep_duration: unused_for,
        max_used: limit(&args.max_used_space)?,
        reserved: limit(&args.reserved_space)?,
        min_free: limit(&args.min_free_space)?,
    };
    let warning = if args.all {
        "This will remove all build cache."
    } else {
        "This will remove all dangling build cache."
    };
    if !args.dry_run && !confirmed(session, args.force, warning)? {
        return Ok(0);
    }
    let pruned = session.engine.prune_cache(&[rule], args.dry_run)?;
    let mut text = match (pruned.entries.as_slice(), args.verbose) {
        ([], _) => String::new(),
        (entries, true) => entries.iter().map(du::record).collect(),
        (entries, false) => du::table(entries),
    };
    text.push_str("Total:\t");
    session.say(&(text + &units::size(pruned.bytes, 4)))?;
    Ok(0)
}

/// A number of bytes; as for docker, 0 is no limit.
fn limit(text: &str) -> Result<Option<u64>, Failure> {
    let bytes = units::parse_size(text).map_err(Failure::new)?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}
