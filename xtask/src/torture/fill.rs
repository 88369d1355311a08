//! A file system without a byte left, at any moment.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bld_testkit::Output;
use tempfile::TempDir;

use super::{
    lab::{Lab, succeeded},
    random::Random,
};
use crate::shell;

/// Size of the file system in MiB.
const SIZE: u64 = 96;

/// What a build writes at most, bytes.
const WRITTEN: u64 = 12 << 20;

/// A small file system in a file, mounted; gone when dropped.
pub(super) struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Makes one and mounts it.
    pub(super) fn new() -> Result<Self> {
        let disk = Self { directory: tempfile::Builder::new().prefix("bld-disk-").tempdir()? };
        let file = disk.directory.path().join("image");
        fs::create_dir(disk.place())?;
        fs::File::create(&file)?.set_len(SIZE << 20)?;
        shell::output(
            Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096", "-F"]).arg(&file),
        )?;
        let mut mount = Command::new("mount");
        shell::output(mount.args(["-o", "loop"]).arg(&file).arg(disk.place()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// Takes all but `left` bytes. What is taken is given back when this is dropped.
    fn fill(&self, left: u64) -> Result<Filler> {
        let filler = Filler(self.place().join("filler"));
        let free = || -> Result<u64> {
            let df =
                Command::new("df").args(["--output=avail", "-B1"]).arg(self.place()).output()?;
            let text = String::from_utf8_lossy(&df.stdout).into_owned();
            text.split_whitespace().last().and_then(|bytes| bytes.parse().ok()).context("read df")
        };
        let size = free()?.saturating_sub(left);
        let mut fallocate = Command::new("fallocate");
        fallocate.args(["-l", &size.max(1).to_string()]).arg(&filler.0);
        let _status = fallocate.output()?;
        if left == 0 {
            // The last bytes, too, which others may take, or give back, at the same time.
            use std::io::Write as _;
            let mut file = fs::File::options().append(true).create(true).open(&filler.0)?;
            loop {
                let room = usize::try_from(free()?)?.min(64 << 10);
                let wrote = file.write_all(&vec![0; room]).or_else(|_| file.write_all(&[0]));
                if room == 0 || wrote.is_err() {
                    break;
                }
            }
        }
        Ok(filler)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The directory and the file in it go next; the mount must not keep it.
        let _umount = Command::new("umount").arg("-l").arg(self.place()).output();
    }
}

struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// Fills the store's file system `times` times while a build is going on.
pub(super) fn run(lab: &Lab, disk: &Disk, times: u64, random: &mut Random) -> Result<()> {
    lab.prepare()?;
    let begin = Instant::now();
    let (mut failed, mut length) = (0, Duration::from_millis(800));
    for round in 1..=times {
        // Nothing of the last round helps this one.
        succeeded(&lab.bld(["image", "prune", "-f"]).run())?;
        succeeded(&lab.bld(["prune", "-af"]).run())?;
        let n = random.below(1000);
        let arguments = [[].as_slice(), &["-o", "type=oci,dest=image.tar"], &["--no-cache"]];
        let arguments = arguments[random.below(3) as usize];
        let build = lab.build(n, "full:1", arguments);
        let (what, output, filler) = if random.below(2) == 0 {
            let left = random.below(WRITTEN);
            let filler = disk.fill(left)?;
            (format!("{left} bytes were left"), build.run(), filler)
        } else {
            let moment = random.moment(length);
            let start = Instant::now();
            let (output, took, filler) = std::thread::scope(|scope| {
                let filler = scope.spawn(|| {
                    std::thread::sleep(moment);
                    disk.fill(0)
                });
                let output = build.run();
                (output, start.elapsed(), filler.join())
            });
            let filler = filler.map_err(|_| anyhow::anyhow!("the filler panicked"))??;
            if output.code == 0 {
                length = took;
            }
            (format!("it was full after {moment:.0?}"), output, filler)
        };
        let what = || format!("round {round}: {what}, arguments {arguments:?}");
        if output.code != 0 {
            failed += 1;
            clear(&output).with_context(what)?;
        }
        // Nothing is lost while the disk is full, nor when it is not any more.
        lab.verify().with_context(what)?;
        drop(filler);
        lab.verify().with_context(what)?;
        succeeded(&lab.bld(["inspect", "kept:1"]).run()).with_context(what)?;
        lab.works(n).with_context(what)?;
        if round % 10 == 0 {
            println!("    {round} times full, {failed} builds failed, {:.0?}", begin.elapsed());
        }
    }
    ensure!(times < 10 || failed * 4 > times, "only {failed} of {times} builds noticed");
    Ok(())
}

/// Whether a build that failed says that the disk is full, which one, and what to do.
fn clear(output: &Output) -> Result<()> {
    if output.code > 2 {
        bail!("a strange exit code:\n{output}");
    }
    for wanted in ["o space left on", "hint:", "bld prune"] {
        ensure!(output.stderr.contains(wanted), "does not say {wanted:?}:\n{output}");
    }
    Ok(())
}
