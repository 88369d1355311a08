//! Checking every Dockerfile of the corpus.
//!
//! Their base images are of all the world, so that `bld build --check` would measure the network. One
//! process reads, parses, lowers and checks all files instead, with base images made up; the time of
//! its start is included.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Result, ensure};

use super::{median, report::Row};
use crate::shell::{cargo, root, run, step, target};

/// What the row is called.
pub(super) const ID: &str = "W11";

/// Measures it; none: there is no corpus here.
pub(super) fn measure(rounds: usize) -> Result<Option<Row>> {
    let directory = root().join("../shared/corpus/dockerfiles");
    if !directory.exists() {
        println!("{ID}: left out, there is no corpus at {}", directory.display());
        return Ok(None);
    }
    let mut files = Vec::new();
    find(&directory, &mut files)?;
    step(&format!("{ID} checks of the {} Dockerfiles in the corpus", files.len()));
    run(cargo().args(["build", "--release", "--package", "bld-graph", "--example", "check"]))?;
    let program = target().join("release/examples/check");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let output = Command::new(&program).args(&files).output()?;
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
