//! `cargo xtask torture`: commands are killed, disks filled and the power cut, at any moment.
//!
//! After each blow, `bld system check` has to find the store sound, and nothing may be left on the
//! machine: no mount, process, control group or link. Every few blows a build has to work and make
//! what it should.
//!
//! All of it happens in a mount namespace of its own, so that not even this program's end leaves a
//! mount.

mod fill;
mod kill;
mod lab;
mod medium;
mod power;
mod random;

use std::{os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    packages,
    shell::{build_release, need_root, step},
};
use lab::Lab;
use random::Random;

/// How much of it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many commands are killed
    #[arg(long, default_value_t = 500)]
    kills: u64,
    /// How many times a small file system is filled to the last byte
    #[arg(long, default_value_t = 100)]
    fills: u64,
    /// How many times the power is cut
    #[arg(long, default_value_t = 100)]
    cuts: u64,
    /// The seed of an earlier run, to do the same again
    #[arg(long)]
    seed: Option<u64>,
    /// The program to torture; otherwise it is built first
    #[arg(long)]
    bld: Option<PathBuf>,
    /// Leave the store of a failure behind
    #[arg(long)]
    keep: bool,
    /// In a mount namespace already
    #[arg(long, hide = true)]
    inside: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    need_root()?;
    if !options.inside {
        packages::for_tests()?;
        let bld = match &options.bld {
            Some(bld) => bld.canonicalize().context("find the program")?,
            None => build_release()?,
        };
        let seed = options.seed.unwrap_or_else(Random::seed);
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe()?);
        again.args(["torture", "--inside", "--bld"]).arg(bld);
        again.args(["--kills", &options.kills.to_string()]);
        again.args(["--fills", &options.fills.to_string(), "--cuts", &options.cuts.to_string()]);
        again.args(["--seed", &seed.to_string()]);
        again.args(options.keep.then_some("--keep"));
        return Err(again.exec()).context("start unshare");
    }
    let (Some(bld), Some(seed)) = (&options.bld, options.seed) else {
        bail!("--inside is for this program itself");
    };
    step(&format!("Seed {seed}"));
    if options.kills > 0 {
        step(&format!("Killing {} commands", options.kills));
        let lab = Lab::new(bld, &std::env::temp_dir())?;
        let result = kill::run(&lab, options.kills, &mut Random::new(seed));
        finish(lab, result, options.keep)?;
    }
    if options.fills > 0 {
        step(&format!("Filling the disk {} times", options.fills));
        let disk = fill::Disk::new()?;
        let lab = Lab::new(bld, &disk.place())?;
        let result = fill::run(&lab, &disk, options.fills, &mut Random::new(seed));
        finish(lab, result, options.keep)?;
    }
    if options.cuts > 0 {
        step(&format!("Cutting the power {} times", options.cuts));
        let machine = power::Machine::new()?;
        let lab = Lab::new(bld, &machine.place())?;
        let result = power::run(&lab, &machine, options.cuts, &mut Random::new(seed));
        finish(lab, result, options.keep)?;
    }
    Ok(())
}

/// Leaves the place of a failure behind if that is wanted.
fn finish(lab: Lab, result: Result<()>, keep: bool) -> Result<()> {
    match result {
        Err(error) if keep => {
            let root = lab.keep();
            Err(error.context(format!("the store is left at {root}")))
        }
        result => result,
    }
}
