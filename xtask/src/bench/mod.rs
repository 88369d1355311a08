//! `cargo xtask bench`: the time bld takes beside the time others take, for the same work, and how it
//! grows with the work.
//!
//! All builders do a workload in turns, so that what else the machine does hits each; the median of
//! each is reported. Every builder keeps its images in a store made for this, except those with a
//! daemon, whose store is only emptied when asked to.

mod builder;
mod containers;
mod corpus;
mod data;
mod growth;
mod measure;
mod plot;
mod profile;
mod report;
mod results;
mod shapes;
mod workload;

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use bld_testkit::{Registry, rootfs, write_archive};

pub(crate) use self::measure::{Timed, timed};
use self::{
    builder::Builder,
    growth::Grower,
    measure::{Usage, measure, median, runs},
    profile::profile,
    results::{Limit, Peer, Results, Row},
    workload::{Action, Lab, Start, Workload},
};
use crate::{
    bridge::DefaultBridge,
    packages,
    shell::{build_release, need_root, step, target},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each builder for each workload; four times as many of what is quick, and at most three
    /// of what is slow
    #[arg(short = 'n', long, default_value_t = 5)]
    rounds: usize,
    /// Only these workloads, e.g. W1,W3 (which includes W3a)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these other builders, e.g. buildah,docker
    #[arg(long, value_delimiter = ',')]
    peer: Vec<String>,
    /// Only how cost grows: with the steps, files, images and layers, or with these of them
    #[arg(long, value_name = "SIZES", value_delimiter = ',', num_args = 0..)]
    #[arg(conflicts_with_all = ["only", "peer"], require_equals = true)]
    growth: Option<Vec<String>>,
    /// Empty the stores of docker and buildkitd where a workload starts from nothing. They lose
    /// everything they hold, so without this such workloads leave them out
    #[arg(long)]
    prune: bool,
    /// Measure this program and build none
    #[arg(long, value_name = "PROGRAM")]
    bld: Option<PathBuf>,
}

impl Options {
    fn wants(&self, id: &str) -> bool {
        let wants = |wanted: &String| {
            let rest = id.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| !rest.starts_with(|char: char| char.is_ascii_digit()))
        };
        self.growth.is_none() && (self.only.is_empty() || self.only.iter().any(wants))
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    need_root()?;
    packages::for_tests()?;
    let bld = match &options.bld {
        Some(program) => program.clone(),
        None => build_release()?,
    };
    let _bridge = DefaultBridge::now();
    let begun = Instant::now();
    let directory = target().join("bench");
    fs::create_dir_all(&directory)?;
    let file = directory.join("results.json");
    let mut results = Results::load(&file)?;

    step("Preparing base images and workloads");
    let registry = base_images(&directory)?;
    let emptied = Registry::start()?;
    let work = directory.join("work");
    let lab = Lab { directory: &work, registry: &registry.host(), target: &emptied.host() };
    let workloads = lab.workloads()?;
    let needed: Vec<_> = workloads.iter().map(|workload| workload.id).collect();
    let ids = [&needed[..], &corpus::IDS].concat();

    let own = Builder::bld(bld, directory.join("bld"));
    let peers = match options.growth {
        Some(_) => Vec::new(),
        None => builder::peers(&directory, &options.peer),
    };
    for builder in std::iter::once(&own).chain(&peers) {
        builder.forget()?; // of an earlier run that was interrupted
    }
    let bench = Bench {
        rounds: options.rounds,
        prune: options.prune,
        log: directory.join("log"),
        directory,
        emptied,
        changes: Cell::new(0),
    };
    let mut rows = Vec::new();
    for workload in workloads.iter().filter(|workload| options.wants(workload.id)) {
        let minutes = begun.elapsed().as_secs() / 60;
        step(&format!("{} {} (minute {minutes})", workload.id, workload.title));
        let able: Vec<_> = peers.iter().filter(|peer| peer.can(workload)).collect();
        rows.push(bench.compare(workload, &own, &able)?);
        results.put(rows[rows.len() - 1].clone(), &ids);
        results.save(&file)?;
    }
    if corpus::IDS.iter().any(|id| options.wants(id)) {
        for row in corpus::measure(options.rounds, &work.join("W10/Dockerfile"), &bench.log)? {
            results.put(row.clone(), &ids);
            rows.push(row);
        }
    }
    if options.growth.is_none() && options.peer.is_empty() {
        results.versions = versions(&own, &peers);
    }
    let all = options.only.is_empty() && options.peer.is_empty();
    if let Some(sizes) = options.growth.as_ref().or(all.then_some(&Vec::new())) {
        let grower =
            Grower { bld: &own, lab: &lab, log: &bench.log, rounds: options.rounds.min(3) };
        let charts = grower.measure(sizes)?;
        for chart in &charts {
            println!("{}\n{}", chart.title, report::chart(chart));
        }
        results.put_charts(charts);
    }
    results.save(&file)?;
    for builder in std::iter::once(&own).chain(&peers) {
        builder.forget()?;
    }

    if !rows.is_empty() {
        println!("{}\n{}", report::goals(&rows), report::beside(&rows));
    }
    match results.missing(&needed)[..] {
        [] => report::write(&results, options.rounds)?,
        ref missing => println!(
            "docs/benchmarks.md stays as it is, because these were never measured here: {}",
            missing.join(", ")
        ),
    }
    if rows.iter().any(|row| row.own.is_none()) {
        bail!("bld could not do some of it");
    }
    Ok(())
}

/// A registry with a busybox and a Debian.
fn base_images(directory: &Path) -> Result<Registry> {
    let registry = Registry::start()?;
    let busybox = directory.join("busybox.tar");
    write_archive(&busybox, "busybox:latest", &rootfs::busybox()?, &["sh"])?;
    registry.upload(&busybox, "busybox:latest");
    let debian = directory.join("rootfs.tar");
    rootfs::debian(&debian)?;
    let archive = directory.join(workload::DEBIAN);
    write_archive(&archive, "debian:latest", &fs::read(&debian)?, &["bash"])?;
    registry.upload(&archive, "debian:latest");
    Ok(registry)
}

fn versions(own: &Builder, peers: &[Builder]) -> Vec<String> {
    std::iter::once(own)
        .chain(peers)
        .filter_map(|builder| {
            let version = builder.version().ok()?;
            let name = builder.name.split(' ').next()?;
            // What `cp` calls itself says it all, what buildkitd does is but a number.
            Some(if version.starts_with(name) { version } else { format!("{name} {version}") })
        })
        .fold(Vec::new(), |mut versions, version| {
            if !versions.contains(&version) {
                versions.push(version);
            }
            versions
        })
}

struct Bench {
    rounds: usize,
    prune: bool,
    directory: PathBuf,
    log: PathBuf,
    /// The registry that is emptied before each push.
    emptied: Registry,
    /// How often a file was changed.
    changes: Cell<usize>,
}

/// A builder at one workload.
struct Contender<'a> {
    builder: &'a Builder,
    usages: Vec<Usage>,
    failed: bool,
}

impl Contender<'_> {
    /// Whether it has to be timed once more.
    fn wants_another(&self, rounds: usize) -> bool {
        let wanted = self.usages.first().map_or(1, |first| runs(rounds, first.wall));
        !self.failed && self.usages.len() < wanted
    }

    /// What it took, said aloud; `None` if it failed.
    fn usage(&self) -> Option<Usage> {
        let usage = median(&self.usages).filter(|_| !self.failed)?;
        let least = self.usages.iter().map(|usage| usage.wall).fold(f64::MAX, f64::min);
        println!(
            "    {:16} {:>8} (at least {}; runs: {})",
            self.builder.name,
            report::time(usage.wall),
            report::time(least),
            self.usages.len()
        );
        Some(usage)
    }
}

impl Bench {
    /// Measures one workload with bld and the others.
    fn compare(&self, workload: &Workload, own: &Builder, peers: &[&Builder]) -> Result<Row> {
        let mut contenders = Vec::new();
        for builder in std::iter::once(&own).chain(peers) {
            if workload.fresh && builder.has_daemon() && !self.prune {
                println!("    {:16} left out: needs an empty store, see --prune", builder.name);
                continue;
            }
            contenders.push(Contender { builder, usages: Vec::new(), failed: false });
        }
        self.take_turns(workload, &mut contenders);
        let mut all = contenders.iter().map(|contender| Peer {
            name: contender.builder.name.to_owned(),
            usage: contender.usage(),
            has_daemon: contender.builder.has_daemon(),
        });
        let own_usage = all.next().and_then(|own| own.usage);
        let peers: Vec<_> = all.collect();
        let mut row = Row {
            limit: workload.goal.and_then(|goal| Limit::new(goal, &peers)),
            memory: workload.memory,
            peers,
            ..Row::of_bld(workload.id, workload.title, own_usage)
        };
        if let (Some(false), Some(usage)) = (row.met(), own_usage) {
            println!("    missed its goal: profiling");
            let profile = profile(usage.wall, &self.directory, || {
                self.prepare(workload, own, false)?;
                own.commands(workload, &self.out()).pop().context("bld is one command")
            });
            match profile {
                Ok(profile) => row.profile = Some(profile),
                Err(error) => println!("    no profile: {error:#}"),
            }
        }
        if let Some(life) = containers::life(workload) {
            for contender in &contenders {
                measure(&[life.after(contender.builder)], &self.log)?;
            }
        }
        if workload.bulky {
            for contender in &contenders {
                contender.builder.forget()?;
                if self.prune && contender.builder.has_daemon() {
                    contender.builder.empty()?;
                }
            }
        }
        Ok(row)
    }

    /// Times all in turns until each was timed as often as it wants.
    fn take_turns(&self, workload: &Workload, contenders: &mut [Contender<'_>]) {
        let rounds = self.rounds;
        while contenders.iter().any(|contender| contender.wants_another(rounds)) {
            for contender in contenders.iter_mut().filter(|one| one.wants_another(rounds)) {
                let first = contender.usages.is_empty();
                match self.measure(workload, contender.builder, first) {
                    Ok(usage) => contender.usages.push(usage),
                    Err(error) => {
                        println!("    {:16} failed: {error:#}", contender.builder.name);
                        contender.failed = true;
                    }
                }
            }
        }
    }

    /// Where results go that leave the store.
    fn out(&self) -> PathBuf {
        self.directory.join("out")
    }

    /// Makes everything as the workload needs it, before the first run or before another.
    fn prepare(&self, workload: &Workload, builder: &Builder, first: bool) -> Result<()> {
        if workload.fresh {
            builder.empty()?;
        }
        if first || workload.fresh {
            let before = match &workload.start {
                Start::Nothing => Vec::new(),
                Start::Base(context) => builder.build(context, "bench/base:1"),
                Start::Done if matches!(workload.action, Action::Run { .. }) => {
                    builder.commands(workload, &self.out())
                }
                Start::Done if containers::life(workload).is_some() => {
                    builder.pulled(&workload.tag)
                }
                Start::Built | Start::Done => builder.build(&workload.context, &workload.tag),
            };
            // What comes from a cache needs none in the store.
            if workload.action != Action::CacheFrom || first {
                measure(&before, &self.log)?;
            }
            if workload.start == Start::Done && first {
                self.fill(workload, builder)?;
            }
        }
        if let Some(life) = containers::life(workload) {
            measure(&life.before(builder, &workload.tag, first), &self.log)?;
        }
        if matches!(workload.action, Action::Push | Action::CacheTo) {
            self.empty_registry()?;
        }
        if let Some(file) = &workload.changing {
            self.changes.set(self.changes.get() + 1);
            fs::write(file, format!("{}\n", self.changes.get()))?;
        }
        let out = self.out();
        if out.is_dir() {
            fs::remove_dir_all(out)?;
        } else if out.exists() {
            fs::remove_file(out)?;
        }
        Ok(())
    }

    /// Gives the registry what the workload expects there.
    fn fill(&self, workload: &Workload, builder: &Builder) -> Result<()> {
        let commands = match workload.action {
            Action::Push | Action::PushAgain => builder.push(workload),
            Action::CacheFrom => builder.cache_to(workload),
            _ => return Ok(()),
        };
        // What others have put there they still need.
        measure(&commands, &self.log)?;
        if workload.fresh { builder.empty() } else { Ok(()) }
    }

    fn empty_registry(&self) -> Result<()> {
        let data = self.emptied.data();
        if data.exists() { Ok(fs::remove_dir_all(data)?) } else { Ok(()) }
    }

    fn measure(&self, workload: &Workload, builder: &Builder, first: bool) -> Result<Usage> {
        self.prepare(workload, builder, first)?;
        // What others have written must not be waited for in our time.
        Command::new("sync").status()?;
        let usage = measure(&builder.commands(workload, &self.out()), &self.log)?;
        let Some(life) = containers::life(workload) else { return Ok(usage) };
        let usage = life.each(builder, usage);
        if life.is_in_the_way() {
            measure(&[life.after(builder)], &self.log)?;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: super::Options,
    }

    #[test]
    fn a_workload_includes_its_variants() {
        let options = |only: &str| Line::parse_from(["bench", "--only", only]).options;
        let wanted = |only: &str| {
            ["W1", "W2", "W2a", "W10"]
                .into_iter()
                .filter(|id| options(only).wants(id))
                .collect::<Vec<_>>()
        };
        assert_eq!(wanted("W1"), ["W1"]);
        assert_eq!(wanted("W2"), ["W2", "W2a"]);
        assert_eq!(wanted("W2a,W10"), ["W2a", "W10"]);
    }
}
