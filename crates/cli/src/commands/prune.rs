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
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
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

/// What was taken away of one kind: lines for people, and how many bytes that freed.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) text: String,
    pub(super) bytes: u64,
}

impl Taken {
    /// The names of what was taken, below a heading.
    pub(super) fn new(heading: &str, names: &[String], bytes: u64) -> Self {
        let text = match names {
            [] => String::new(),
            names => format!("{heading}:\n{}\n\n", names.join("\n")),
        };
        Self { text, bytes }
    }

    fn of(heading: &str, pruned: &Pruned) -> Self {
        Self::new(heading, &pruned.removed, pruned.bytes)
    }

    fn report(&self, session: &Session) -> Outcome {
        session.say(&format!(
            "{}Total reclaimed space: {}",
            self.text,
            units::size(self.bytes, 4)
        ))?;
        Ok(0)
    }
}

pub(crate) fn containers(args: &ContainerArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["until", "label", "label!"])?;
    if !confirmed(session, args.force, "This will remove all stopped containers.")? {
        return Ok(0);
    }
    take_containers(&filters, session)?.report(session)
}

/// Removes the containers that have ended.
pub(super) fn take_containers(filters: &Filters, session: &Session) -> Result<Taken, Failure> {
    let (labels, without) = (filters.labels("label"), filters.labels("label!"));
    let pruned = session.engine.prune_containers(filters.time("until")?, &labels, &without)?;
    Ok(Taken::of("Deleted Containers", &pruned))
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
    take_images(all, &filters, session)?.report(session)
}

/// Removes the images that nobody needs.
pub(super) fn take_images(
    all: bool,
    filters: &Filters,
    session: &Session,
) -> Result<Taken, Failure> {
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
    Ok(Taken { text, bytes })
}

pub(crate) fn volumes(args: &VolumeArgs, session: &Session) -> Outcome {
    let filters = Filters::parse(&args.filter, &["all", "label", "label!"])?;
    let all = args.all || filters.flag("all")? == Some(true);
    let warning = if all {
        "This will remove all local volumes not used by at least one container."
    } else {
        "This will remove anonymous local volumes not used by at least one container."
    };
    if !confirmed(session, args.force, warning)? {
        return Ok(0);
    }
    take_volumes(all, &filters, session)?.report(session)
}

/// Removes the volumes that nobody uses.
pub(super) fn take_volumes(
    all: bool,
    filters: &Filters,
    session: &Session,
) -> Result<Taken, Failure> {
    let (labels, without) = (filters.labels("label"), filters.labels("label!"));
    let pruned = session.engine.prune_volumes(all, &labels, &without)?;
    Ok(Taken::of("Deleted Volumes", &pruned))
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
