//! Parsing, lowering and checking without the network.
//!
//! The base images of the corpus are of all the world, so that `bld build --check` would measure the
//! network. One process reads, parses, lowers and checks all files instead, with base images made up;
//! the time of its start is included. It also tells what parsing and lowering take by themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{median, report::Row};
use crate::shell::{cargo, root, run, step, target};

/// What the rows are called.
pub(super) const ID: &str = "W11";
const LIBRARY: &str = "W12";

/// Measures both rows; the second is about the Dockerfile `long`.
pub(super) fn measure(rounds: usize, long: &Path) -> Result<Vec<Row>> {
    run(cargo().args(["build", "--release", "--package", "bld-graph", "--example", "check"]))?;
    let program = target().join("release/examples/check");
    let mut rows = Vec::from_iter(check_all(rounds, &program)?);
    step(&format!("{LIBRARY} parse and lower {}", long.display()));
    let output = Command::new(&program).arg(long).output()?;
    let text = String::from_utf8(output.stdout)?;
    let micros = text.lines().nth(1).context("the program tells no time")?.parse()?;
    let time = Duration::from_micros(micros);
    println!("    {:10} {:8.1} ms", "bld", time.as_secs_f64() * 1e3);
    let title = "parse and lower 10,000 lines, in a process that runs";
    rows.push(Row { id: LIBRARY, title, own: Some(time), peer: None });
    Ok(rows)
}

/// Checks every file; none: there is no corpus here.
fn check_all(rounds: usize, program: &Path) -> Result<Option<Row>> {
    let directory = root().join("../shared/corpus/dockerfiles");
    if !directory.exists() {
        println!("{ID}: left out, there is no corpus at {}", directory.display());
        return Ok(None);
    }
    let mut files = Vec::new();
    find(&directory, &mut files)?;
    step(&format!("{ID} checks of the {} Dockerfiles in the corpus", files.len()));
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let output = Command::new(program).args(&files).output()?;
        let time = start.elapsed();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        println!("    {:10} {:8.1} ms", "bld", time.as_secs_f64() * 1e3);
        times.push(time);
    }
    let title = "check every Dockerfile of the corpus, one process";
    Ok(Some(Row { id: ID, title, own: median(times), peer: None }))
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
