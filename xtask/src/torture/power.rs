//! A power cut at any moment.
//!
//! The store is on a disk that loses what was not flushed, see [`Medium`]. After a cut the machine is
//! another one as far as bld can see: the kernel's boot id is new, no process, link or rule is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{
    lab::{Lab, succeeded},
    medium::{self, Medium},
    random::Random,
};
use crate::shell;

/// Size of the disk in bytes.
const SIZE: u64 = 512 << 20;

/// Where the kernel says which boot this is, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How long a build is expected to take before one has come to its end.
const GUESS: Duration = Duration::from_millis(800);

/// A machine that can be switched off, as far as its disk and its boot id go.
pub(super) struct Machine {
    directory: TempDir,
    medium: Medium,
}

impl Machine {
    /// Makes its disk, with an empty file system, and mounts it.
    pub(super) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bld-power-").tempdir()?;
        let plug = directory.path().join("plug");
        fs::create_dir(&plug)?;
        let machine = Self { medium: Medium::plug_in(&plug, SIZE)?, directory };
        fs::create_dir(machine.place())?;
        shell::output(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(machine.disk()))?;
        fs::write(machine.boot_id(), fs::read(BOOT_ID)?)?;
        let mut bind = Command::new("mount");
        shell::output(bind.arg("--bind").arg(machine.boot_id()).arg(BOOT_ID))?;
        machine.mount()?;
        Ok(machine)
    }

    /// Where its disk is mounted.
    pub(super) fn place(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("plug").join(medium::NAME)
    }

    fn boot_id(&self) -> PathBuf {
        self.directory.path().join("boot_id")
    }

    fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        shell::output(mount.args(["-o", "loop"]).arg(self.disk()).arg(self.place())).map(drop)
    }

    /// Starts it again after a cut, when everything that ran is dead.
    fn boot(&self, round: u64) -> Result<()> {
        // The dead hold the file system until the kernel has buried them.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !Command::new("umount").arg(self.place()).output()?.status.success() {
            ensure!(Instant::now() < deadline, "the disk is still in use");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.medium.restore();
        fs::write(self.boot_id(), format!("{round:08x}-0000-4000-8000-000000000000\n"))?;
        self.mount()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for place in [Path::new(BOOT_ID), &self.place()] {
            let _umount = Command::new("umount").arg("-l").arg(place).output();
        }
    }
}

/// Cuts the power `times` times, each at a random moment of a build and what goes on beside it.
pub(super) fn run(lab: &Lab, machine: &Machine, times: u64, random: &mut Random) -> Result<()> {
    lab.prepare()?;
    // What the experiment itself needs is not what is to be lost.
    shell::output(&mut Command::new("sync"))?;
    let begin = Instant::now();
    let (mut length, mut finished) = (GUESS, 0);
    let mut promised = None;
    for round in 1..=times {
        let n = random.below(1000);
        let logs = |name: &str| -> Result<PathBuf> {
            let logs = lab.env.path(format!("logs/{name}"));
            fs::create_dir_all(&logs)?;
            Ok(logs)
        };
        let start = Instant::now();
        let promise = logs("promise")?;
        // The build comes first.
        let mut running = vec![lab.build(n, "promise:1", &[]).spawn(&promise)];
        let mut others = Vec::new();
        for slot in 0..random.below(3) {
            let (name, command) = lab.command(slot, random);
            others.push(name);
            running.push(command.spawn(&logs(&slot.to_string())?));
        }
        let moment = random.moment(length * 2);
        let mut took = None;
        while start.elapsed() < moment {
            if took.is_none() && running[0].try_wait()?.is_some() {
                took = Some(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let done = running[0].try_wait()?;
        machine.medium.cut(random)?;
        let what = || format!("round {round}: cut at {moment:.0?}, beside {}", others.join(", "));
        if let Some(status) = done {
            let said = fs::read_to_string(promise.join("stderr")).unwrap_or_default();
            ensure!(status.success(), "{}: a build failed by itself ({status}):\n{said}", what());
            length = took.unwrap_or(moment);
            finished += 1;
        } else {
            // So that one that was quick, because it was cached, is not the measure for long.
            length = (length + length / 16).min(Duration::from_secs(3));
        }
        for mut child in running {
            child.kill()?;
            child.wait()?;
        }
        lab.unplug();
        machine.boot(round).with_context(what)?;

        lab.verify().with_context(what)?;
        succeeded(&lab.bld(["inspect", "kept:1"]).run()).with_context(what)?;
        // An image that was said to be there is there, and is what it was. One that nobody said was
        // there yet may be.
        let found = lab.bld(["run", "--rm", "--network=none", "promise:1", "cat", "/n"]).run();
        let value = found.stdout.trim().parse().ok().filter(|_| found.code == 0);
        let fine = if done.is_some() {
            value == Some(n)
        } else {
            value == Some(n) || value == promised && (value.is_some() || found.code == 125)
        };
        ensure!(fine, "{}: promise:1 was to say {promised:?} or {n}:\n{found}", what());
        promised = value;
        lab.works(random.below(5)).with_context(what)?;
        lab.verify().with_context(what)?;
        if round % 10 == 0 {
            println!(
                "    {round} power cuts, {finished} builds had ended, {:.0?}",
                begin.elapsed()
            );
        }
    }
    Ok(())
}
