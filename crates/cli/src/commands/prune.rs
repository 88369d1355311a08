//! The `prune` of each group, and `system check`.

use std::io::{self, BufRead as _, Write as _};

use bld_engine::containers::Pruned;
use bld_engine::images::{ImageFilter, Removed};

use super::filter::Filters;
use super::rmi;
use crate::error::Failure;
use crate::output::units;
use crate::session::{Outcome, Session};

/// Remove all stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Remove unused images
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Remove unused local volumes
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Re-hash everything in the store and report what is damaged
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Drop what is damaged, and what is of no use without it
    #[arg(long)]
    repair: bool,
}

/// Asks on standard output, as docker does; anything but a yes is a no.
pub(super) fn confirmed(session: &Session, force: bool, warning: &str) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    session.print(&format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn report(session: &Session, heading: &str, pruned: &Pruned) -> Outcome {
    let mut text = String::new();
    if !pruned.removed.is_empty() {
        text = format!("{heading}:\n{}\n\n", pruned.removed.join("\n"));
    }
    session.say(&format!("{text}Total reclaimed space: {}", units::size(pruned.bytes, 4)))?;
    Ok(0)
}

pub(crate) fn containers(args: &ContainerArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    if !confirmed(session, args.force, "This will remove all stopped containers.")? {
        return Ok(0);
    }
    let (labels, without) = (filters.labels("label"), filters.labels("label!"));
    let pruned = session.engine.prune_containers(filters.time("until")?, &labels, &without)?;
    report(session, "Deleted Containers", &pruned)
}

pub(crate) fn images(args: &ImageArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["until", "label", "label!", "dangling"])?;
    let all = args.all || filters.flag("dangling")? == Some(false);
    let warning = if all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    if !confirmed(session, args.force, warning)? {
        return Ok(0);
    }
    let filter = ImageFilter {
        labels: filters.labels("label"),
        without_labels: filters.labels("label!"),
        until: filters.time("until")?,
        ..ImageFilter::default()
    };
    let (removed, bytes) = session.engine.prune_images(all, &filter)?;
    let mut text = String::new();
    if !removed.is_empty() {
        let lines: String =
            removed.iter().map(|removed: &Removed| rmi::line(removed).to_lowercase()).collect();
        text = format!("Deleted Images:\n{lines}\n");
    }
    session.say(&format!("{text}Total reclaimed space: {}", units::size(bytes, 4)))?;
    Ok(0)
}

pub(crate) fn volumes(args: &VolumeArgs, session: &Session) -> Outcome {
    let warning = if args.all {
        "This will remove all local volumes not used by at least one container."
    } else {
        "This will remove anonymous local volumes not used by at least one container."
    };
    if !confirmed(session, args.force, warning)? {
        return Ok(0);
    }
    report(session, "Deleted Volumes", &session.engine.prune_volumes(args.all)?)
}

pub(crate) fn check(args: &CheckArgs, session: &Session) -> Outcome {
    let damages = session.engine.check_store(args.repair)?;
    let mut sound = true;
    for damage in &damages {
        session.say(&damage.problem)?;
        for user in &damage.concerned {
            session.say(&format!("    it is {user}"))?;
        }
        let repair = damage.repair.clone().unwrap_or_default();
        if repair.done {
            session.say("    it was dropped, and is fetched or made again when it is needed")?;
        }
        for image in &repair.lost {
            session.say(&format!("    image {image} is gone: pull or build it again"))?;
        }
        for container in &repair.containers {
            session.say(&format!("    container {container} lies on it: remove that first"))?;
        }
        sound &= repair.done;
    }
    match damages.len() {
        0 => session.say("The store is sound.")?,
        count if sound => session.say(&format!("{count} repaired."))?,
        _ if args.repair => session.say("Not everything could be repaired.")?,
        _ => session.say("bld system check --repair drops what is damaged.")?,
    }
    Ok(u8::from(!sound))
}
