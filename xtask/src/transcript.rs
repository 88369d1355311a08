//! What docker prints for the commands that people learn first, and whether bld does the same
//! (testdata/transcript).

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use bld_testkit::{Registry, rootfs, write_archive};

use crate::shell::{root, target, watch};

/// Plays all scenarios with `bld`, in a store of their own; whether all was as expected. The lines
/// that the runner prints go to `line`.
pub(crate) fn play(bld: &Path, line: impl FnMut(&str)) -> Result<bool> {
    let directory = target().join("transcript");
    let store = directory.join("store");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    fs::create_dir_all(&directory)?;
    let registry = Registry::start()?;
    let debian = directory.join("rootfs.tar");
    rootfs::debian(&debian)?;
    let archive = directory.join("bookworm.tar");
    write_archive(&archive, "bookworm:latest", &fs::read(&debian)?, &["bash"])?;
    registry.upload(&archive, "bookworm:latest");
    let mut command = Command::new("python3");
    command.arg(root().join("testdata/transcript/run.py")).arg("--engine").arg(bld);
    command
        .env("BLD_ROOT", &store)
        .env("TRANSCRIPT_REGISTRY", registry.host())
        // The packages of the images come by the way that this machine has.
        .env("TRANSCRIPT_BUILD_ARGS", "--network host");
    let fine = watch(&mut command, line)?;
    fs::remove_dir_all(&store)?;
    Ok(fine)
}
