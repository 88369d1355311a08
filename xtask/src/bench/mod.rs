//! `cargo xtask bench`: the time bld takes beside the time others take, for the same work.
//!
//! Runs alternate, one of bld and one of the other, so that what else the machine does hits both;
//! the median of each is reported. Every builder keeps its images in a store made for this, except
//! those with a daemon, whose store is only emptied when asked to.

mod builder;
mod corpus;
mod report;
mod workload;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bld_testkit::{Registry, rootfs, write_archive};

use self::{
    builder::Builder,
    report::Row,
    workload::{Action, Prepare, Workload},
};
use crate::{
    packages,
    shell::{build_release, need_root, step, target},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each builder for each workload
    #[arg(short = 'n', long, default_value_t = 5)]
    rounds: usize,
    /// Only these workloads, e.g. W1,W5
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these other builders, e.g. buildah,docker
    #[arg(long, value_delimiter = ',')]
    peer: Vec<String>,
    /// Empty the stores of docker and buildkitd where a workload starts from nothing. They lose
    /// everything they hold, so without this such workloads leave them out
    #[arg(long)]
    prune: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    need_root()?;
    packages::for_tests()?;
    let bld = build_release()?;
    let directory = target().join("bench");
    fs::create_dir_all(&directory)?;

    step("Preparing base images and workloads");
    let registry = Registry::start()?;
    let busybox = directory.join("busybox.tar");
    write_archive(&busybox, "busybox:latest", &rootfs::busybox()?, &["sh"])?;
    registry.upload(&busybox, "busybox:latest");
    let debian = directory.join("rootfs.tar");
    rootfs::debian(&debian)?;
    let archive = directory.join("debian.tar");
    write_archive(&archive, "debian:latest", &fs::read(&debian)?, &["bash"])?;
    registry.upload(&archive, "debian:latest");
    let workloads = workload::write(&directory.join("work"), &registry.host())?;
    let workloads: Vec<_> = workloads
        .into_iter()
        .filter(|workload| {
            options.only.is_empty() || options.only.contains(&workload.id.to_owned())
        })
        .collect();

    let bench = Bench { rounds: options.rounds, prune: options.prune, log: directory.join("log") };
    let own = Builder::bld(bld, directory.join("bld"));
    let peers = builder::peers(&directory, &options.peer);
    if peers.is_empty() {
        println!("no other builder is installed here: bld is measured alone");
    }
    for builder in std::iter::once(&own).chain(&peers) {
        builder.forget()?; // of an earlier run that was interrupted
    }
    let mut rows = Vec::new();
    for workload in &workloads {
        let able: Vec<_> = peers.iter().filter(|peer| peer.can(workload)).collect();
        let alone = able.is_empty().then_some(None);
        for peer in able.into_iter().map(Some).chain(alone) {
            rows.extend(bench.compare(workload, &own, peer));
        }
    }
    if options.only.is_empty() || options.only.contains(&corpus::ID.to_owned()) {
        let long = directory.join("work/W10/Dockerfile");
        rows.extend(corpus::measure(options.rounds, &long)?);
    }
    for builder in std::iter::once(&own).chain(&peers) {
        builder.forget()?;
    }

    let page = report::page(&rows, &own, &peers, options.rounds)?;
    println!("{}", report::table(&rows));
    report::write(&page)?;
    if rows.iter().any(|row| row.own.is_none()) {
        bail!("bld could not do some of it");
    }
    Ok(())
}

struct Bench {
    rounds: usize,
    prune: bool,
    log: PathBuf,
}

impl Bench {
    /// Measures one workload with bld and another builder; `None` when the other can't take part.
    fn compare(&self, workload: &Workload, own: &Builder, peer: Option<&Builder>) -> Option<Row> {
        let name = peer.map_or("nobody", |peer| peer.name);
        step(&format!("{} {}: bld and {name}", workload.id, workload.title));
        let shares = peer.is_some_and(|peer| peer.shares_its_store);
        if workload.prepare == Prepare::Empty && shares && !self.prune {
            println!("    left out: needs an empty store, see --prune");
            return None;
        }
        let mut builders: Vec<_> = [Some(own), peer].into_iter().flatten().collect();
        let mut times = vec![Some(Vec::new()); builders.len()];
        for round in 0..self.rounds {
            for (builder, times) in builders.iter_mut().zip(&mut times) {
                let measured = times.as_mut().map(|times: &mut Vec<Duration>| {
                    self.measure(workload, builder, round).map(|time| times.push(time))
                });
                if let Some(Err(error)) = measured {
                    println!("    {} failed: {error:#}", builder.name);
                    *times = None;
                }
            }
        }
        let mut medians = times.into_iter().map(|times| times.and_then(median));
        Some(Row {
            id: workload.id,
            title: workload.title,
            own: medians.next().flatten(),
            peer: peer.map(|peer| (peer.name, medians.next().flatten())),
        })
    }

    fn measure(&self, workload: &Workload, builder: &Builder, round: usize) -> Result<Duration> {
        match workload.prepare {
            Prepare::Empty => builder.empty()?,
            Prepare::Built | Prepare::Base if round == 0 && workload.action != Action::Check => {
                self.run(&mut builder.build(workload, false))?;
            }
            Prepare::Built | Prepare::Base => {}
        }
        let mut command = builder.command(workload);
        // What others have written must not be waited for in our time.
        Command::new("sync").status()?;
        let start = Instant::now();
        self.run(&mut command)?;
        let time = start.elapsed();
        println!("    {:10} {:8.1} ms", builder.name, time.as_secs_f64() * 1e3);
        Ok(time)
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let log = File::create(&self.log)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        if !status.success() {
            let text = fs::read_to_string(&self.log)?;
            let last: Vec<_> = text.lines().rev().take(15).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            bail!("{status}\n{}", last.join("\n"));
        }
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
