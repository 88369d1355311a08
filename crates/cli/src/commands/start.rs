//! `bld start`

use bld_engine::containers::{Container, ContainerFilter, RestartCondition};

use super::filter::Filters;
use super::run;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Start one or more stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start all containers that do not run
    #[arg(long, conflicts_with_all = ["attach", "interactive"])]
    all: bool,
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    #[command(flatten)]
    keys: run::Keys,
    /// Of all, only those that fit (restart-policy=NAME, should-start-on-boot=true)
    #[arg(short, long, value_name = "filter", requires = "all")]
    filter: Vec<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let start = |name: &str| {
        session.engine.start_container(name)?;
        Ok(())
    };
    if args.all {
        return session.each(&chosen(args, session)?, start);
    }
    if !args.attach && !args.interactive {
        return session.each(&args.containers, start);
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let container = session.engine.find_container(name)?;
    let streams = run::Streams { stdin: args.interactive, stdout: true, stderr: true };
    run::foreground(session, &container, streams, true, args.keys.parse()?)
}

/// The ids of all containers that `--all` and `--filter` mean.
fn chosen(args: &Args, session: &Session) -> Result<Vec<String>, Failure> {
    let filters = Filters::parse(&args.filter, &["restart-policy", "should-start-on-boot"])?;
    let policies = filters.all("restart-policy");
    let boot = match filters.last("should-start-on-boot") {
        None => None,
        Some(word) => Some(word.parse::<bool>().map_err(|_| {
            Failure::new(format!(
                "invalid filter 'should-start-on-boot={word}': give true or false"
            ))
        })?),
    };
    let fits = |container: &Container| {
        let policy = container.host.restart.name;
        !container.state.is_running()
            && (policies.is_empty() || policies.iter().any(|name| name == policy.name()))
            && boot.is_none_or(|boot| boot == starts_on_boot(container))
    };
    let all = ContainerFilter { all: true, ..ContainerFilter::default() };
    let containers = session.engine.containers(&all)?;
    Ok(containers.into_iter().filter(fits).map(|container| container.id).collect())
}

/// Whether a container is to run after a start of the machine.
fn starts_on_boot(container: &Container) -> bool {
    match container.host.restart.name {
        RestartCondition::Always => true,
        RestartCondition::UnlessStopped => {
            !container.stop_asked && container.state.started.is_some()
        }
        RestartCondition::OnFailure | RestartCondition::No => false,
    }
}
