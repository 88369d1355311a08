//! `cargo xtask demo`: bld from nothing to a cached rebuild.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    packages,
    shell::{self, build_release, need_root, output, root, step, target},
};

const BASE: &str = "demo/busybox";
const IMAGE: &str = "demo/words";

fn bld_in(bld: &Path, store: &Path) -> Command {
    let mut command = Command::new(bld);
    command.env("BLD_ROOT", store).current_dir(root());
    command
}

/// A store nobody else uses, empty.
fn fresh_store() -> Result<std::path::PathBuf> {
    let directory = target().join("demo");
    if directory.exists() {
        fs::remove_dir_all(&directory).context("remove what an earlier demo left")?;
    }
    fs::create_dir_all(directory.join("base"))?;
    Ok(directory)
}

fn show(bld: &Path) -> Result<(Duration, Duration)> {
    let directory = fresh_store()?;
    let store = directory.join("store");
    let testdata = root().join("testdata");

    step("Making a base image from the machine's busybox, FROM scratch");
    let context = directory.join("base");
    fs::copy(bld_testkit::rootfs::busybox_binary()?, context.join("busybox"))?;
    shell::run(
        bld_in(bld, &store)
            .args(["build", "-t", BASE, "-f"])
            .args([testdata.join("busybox/Dockerfile").as_path(), context.as_path()]),
    )?;

    step("Building a multi-stage Dockerfile on it (testdata/demo)");
    let build = || {
        let mut command = bld_in(bld, &store);
        command.args(["build", "--progress", "plain", "-t", IMAGE]).arg(testdata.join("demo"));
        command
    };
    let start = Instant::now();
    shell::run(&mut build())?;
    let first = start.elapsed();

    step("Running the image");
    let mut container = bld_in(bld, &store);
    container.args(["run", "--rm", IMAGE, "3"]);
    let text = output(&mut container)?;
    println!("{}", text.trim_end());
    ensure!(text.starts_with("The most frequent words:"), "the image printed something else");

    step("Building again: nothing changed, so every step comes from the cache");
    let start = Instant::now();
    let again = build().output()?;
    let second = start.elapsed();
    let log = String::from_utf8_lossy(&again.stderr) + String::from_utf8_lossy(&again.stdout);
    println!("{}", log.trim_end());
    ensure!(again.status.success(), "the second build failed");
    ensure!(log.contains("CACHED"), "the second build used no cache");
    Ok((first, second))
}

pub(crate) fn run() -> Result<()> {
    need_root()?;
    packages::for_demo()?;
    let bld = build_release()?;
    let (first, second) = show(&bld)?;
    step("Done");
    println!("first build   {:>8.1} ms", first.as_secs_f64() * 1e3);
    println!("cached build  {:>8.1} ms", second.as_secs_f64() * 1e3);
    println!(
        "The binary is {}; the images are in {}.",
        bld.display(),
        target().join("demo/store").display()
    );
    Ok(())
}
