//! `bld update`

use bld_engine::containers::{Limits, UpdateRequest};

use super::options::{parse_restart, parse_swap};
use crate::error::Failure;
use crate::output::units::parse_size;
use crate::session::{Outcome, Session};

/// Update configuration of one or more containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int")]
    cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int")]
    cpu_quota: Option<u64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int")]
    cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal")]
    cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = parse_size)]
    memory: Option<u64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = parse_size)]
    memory_reservation: Option<u64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = parse_swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let request = request(args)?;
    if request.is_empty() {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    session.each(&args.containers, |name| {
        session.engine.update_container(name, &request)?;
        Ok(())
    })
}

fn request(args: &Args) -> Result<UpdateRequest, Failure> {
    let pids = args.pids_limit.filter(|limit| *limit > 0);
    Ok(UpdateRequest {
        limits: Limits {
            memory: args.memory.filter(|memory| *memory > 0),
            memory_swap: args.memory_swap.filter(|swap| *swap != 0),
            memory_reservation: args.memory_reservation.filter(|memory| *memory > 0),
            nano_cpus: args.cpus.map(|cpus| (cpus * 1e9).round() as u64).filter(|cpus| *cpus > 0),
            cpu_shares: args.cpu_shares.filter(|shares| *shares > 0),
            cpu_quota: args.cpu_quota.filter(|quota| *quota > 0),
            cpu_period: args.cpu_period.filter(|period| *period > 0),
            cpuset_cpus: args.cpuset_cpus.clone().filter(|cpus| !cpus.is_empty()),
            cpuset_mems: args.cpuset_mems.clone().filter(|nodes| !nodes.is_empty()),
            pids: pids.map(i64::unsigned_abs),
            io_weight: args.blkio_weight.filter(|weight| *weight > 0),
            io_rates: Vec::new(),
        },
        unlimited_pids: args.pids_limit.is_some() && pids.is_none(),
        restart: args.restart.as_deref().map(parse_restart).transpose()?,
    })
}
