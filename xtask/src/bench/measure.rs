//! What commands take: time, processor and memory.
//!
//! The kernel adds up what a process's ended children took, with their children, and remembers the
//! largest of them. To keep runs apart, each is started by a process of its own: this program once
//! more, which is small and starts nothing else.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde::{Deserialize, Serialize};

/// Stands between commands that follow each other.
const THEN: &str = ";";

/// What a run, or the middle one of several, took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of processors, by the program and all it started and waited for.
    pub(super) cpu: f64,
    /// Bytes of memory that the largest of these processes held at a time.
    pub(super) memory: u64,
}

/// Runs commands one after the other and prints what they took as JSON.
#[derive(clap::Args)]
pub(crate) struct Timed {
    /// Where their output goes
    log: PathBuf,
    /// The commands, with `;` between them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    commands: Vec<OsString>,
}

pub(crate) fn timed(options: &Timed) -> Result<()> {
    let log = File::create(&options.log)?;
    let start = Instant::now();
    for words in options.commands.split(|word| word == THEN) {
        let (program, arguments) = words.split_first().context("a command is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let status = command.status().with_context(|| format!("start {}", program.display()))?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", program.display(), end_of(&options.log)?);
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    let memory = usage.max_rss().unsigned_abs() * 1024;
    println!("{}", serde_json::to_string(&Usage { wall, cpu, memory })?);
    Ok(())
}

fn seconds(time: TimeVal) -> f64 {
    Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec() as u32 * 1000).as_secs_f64()
}

/// The last lines of a log.
fn end_of(log: &Path) -> Result<String> {
    let text = fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// Runs commands one after the other, as one; nothing to run takes nothing.
pub(super) fn measure(commands: &[Command], log: &Path) -> Result<Usage> {
    let Some(first) = commands.first() else {
        return Ok(Usage { wall: 0.0, cpu: 0.0, memory: 0 });
    };
    // Also when another build has put another program in this one's place.
    let mut helper = Command::new("/proc/self/exe");
    helper.arg("timed").arg(log).stdin(Stdio::null());
    for (index, command) in commands.iter().enumerate() {
        helper.args((index > 0).then_some(THEN));
        helper.arg(command.get_program()).args(command.get_args());
    }
    let set: BTreeMap<_, _> =
        first.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let output = helper.envs(set).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("failed: "));
    }
    serde_json::from_slice(&output.stdout).context("read what a run took")
}

/// How often something is to be timed whose first run took `first` seconds: what is quick varies
/// more and costs nothing, what is slow the other way round.
pub(super) fn runs(rounds: usize, first: f64) -> usize {
    match first {
        ..0.5 => rounds * 4,
        ..5.0 => rounds,
        ..15.0 => rounds.min(3),
        _ => rounds.min(2),
    }
}

/// The median of times, and the most memory; `None` of nothing.
pub(super) fn median(usages: &[Usage]) -> Option<Usage> {
    let middle = |value: fn(&Usage) -> f64| {
        let mut values: Vec<_> = usages.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let upper = values.get(values.len() / 2)?;
        Some(f64::midpoint(values[(values.len() - 1) / 2], *upper))
    };
    Some(Usage {
        wall: middle(|usage| usage.wall)?,
        cpu: middle(|usage| usage.cpu)?,
        memory: usages.iter().map(|usage| usage.memory).max()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_what_is_out_of_line() {
        let usage = |wall, memory| Usage { wall, cpu: wall / 2.0, memory };
        let all = [usage(9.0, 1), usage(1.0, 3), usage(2.0, 2)];
        assert_eq!(median(&all), Some(Usage { wall: 2.0, cpu: 1.0, memory: 3 }));
        assert_eq!(median(&all[1..]), Some(Usage { wall: 1.5, cpu: 0.75, memory: 3 }));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn quick_things_are_timed_more_often() {
        assert_eq!([0.006, 1.0, 10.0, 20.0].map(|first| runs(5, first)), [20, 5, 3, 2]);
        assert_eq!(runs(1, 20.0), 1);
    }
}
