//! What docker prints for the commands that people learn first, and whether bld does the same
//! (testdata/transcript).

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use bld_testkit::{Registry, User, rootfs, write_archive};

use crate::shell::{root, target, watch};

/// Plays the scenarios with `bld`, in a store of their own, as root, or `only` some as `user`; whether all was
/// as expected. The lines that the runner prints go to `line`.
pub(crate) fn play(bld: &Path, user: Option<(User, &str)>, line: impl FnMut(&str)) -> Result<bool> {
    let (user, only) = user.unzip();
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
    let run = root().join("testdata/transcript/run.py");
    let mut command = match user {
        None => Command::new("python3"),
        Some(user) => {
            let home = directory.join("home");
            for dir in [&home, &store] {
                fs::create_dir_all(dir)?;
                user.own(dir);
            }
            let mut command = Command::new("setpriv");
            command.args(user.words()).arg("python3").env("HOME", home);
            // Ours may lead to where only root looks.
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
            command
        }
    };
    command.arg(run).arg("--engine").arg(bld);
    command.args(only.map(|only| format!("--only={only}")));
    command
        .env("BLD_ROOT", &store)
        .env("TRANSCRIPT_REGISTRY", registry.host())
        // The packages of the images come by the way that this machine has.
        .env("TRANSCRIPT_BUILD_ARGS", "--network host");
    let fine = watch(&mut command, line)?;
    fs::remove_dir_all(&store)?;
    Ok(fine)
}
