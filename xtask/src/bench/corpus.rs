//! Parsing, lowering and checking without the network.
//!
//! The base images of the corpus are of all the world, so that `bld build --check` would measure the
//! network. One process reads, parses, lowers and checks all files instead, with base images made up;
//! the time of its start is included. It also tells what parsing and lowering take by themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    measure::{Usage, measure as take, median},
    report::time,
    results::Row,
};
use crate::shell::{cargo, root, run, step, target};

/// What the rows are called.
pub(super) const IDS: [&str; 2] = ["W11", "W12"];

/// Measures both rows; the second is about the Dockerfile `long`.
pub(super) fn measure(rounds: usize, long: &Path, log: &Path) -> Result<Vec<Row>> {
    run(cargo().args(["build", "--release", "--package", "bld-graph", "--example", "check"]))?;
    let program = target().join("release/examples/check");
    let row = |id: &str, title: &str, usage: Usage| {
        println!("    {:16} {:>8}", "bld", time(usage.wall));
        Row::of_bld(id, title, Some(usage))
    };
    let mut rows = Vec::new();
    let all = check_all(rounds, &program, log)?;
    rows.extend(
        all.map(|all| row(IDS[0], "check every Dockerfile of the corpus, one process", all)),
    );

    step(&format!("{} parse and lower {}", IDS[1], long.display()));
    let mut command = Command::new(&program);
    command.arg(long);
    let usage = take(&[command], log)?;
    let output = fs::read_to_string(log)?;
    let micros: f64 = output.lines().nth(1).context("the program tells no time")?.parse()?;
    let wall = micros / 1e6;
    let title = "parse and lower 10,000 lines, in a process that runs";
    rows.push(row(IDS[1], title, Usage { wall, cpu: wall, ..usage }));
    Ok(rows)
}

/// Checks every file; none: there is no corpus here.
fn check_all(rounds: usize, program: &Path, log: &Path) -> Result<Option<Usage>> {
    let directory = root().join("../shared/corpus/dockerfiles");
    if !directory.exists() {
        println!("{}: left out, there is no corpus at {}", IDS[0], directory.display());
        return Ok(None);
    }
    let mut files = Vec::new();
    find(&directory, &mut files)?;
    step(&format!("{} checks of the {} Dockerfiles in the corpus", IDS[0], files.len()));
    let mut usages = Vec::new();
    for _ in 0..rounds {
        let mut command = Command::new(program);
        command.args(&files);
        usages.push(take(&[command], log)?);
    }
    Ok(median(&usages))
}

/// Every Dockerfile below `directory`.
fn find(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "json") {
            files.push(path);
        }
    }
    Ok(())
}
