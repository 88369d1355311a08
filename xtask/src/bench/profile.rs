//! Where the time goes: samples of what runs, and what is waited for longest.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::report::time;
use crate::shell::{output, which};

/// Functions and system calls that are shown.
const FUNCTIONS: usize = 10;
const CALLS: usize = 5;

/// How often a workload of so many seconds is run for samples: enough of them for a picture.
fn repetitions(wall: f64) -> usize {
    ((1.0 / wall.max(0.001)) as usize).clamp(1, 40)
}

/// Profiles a command that takes `wall` seconds, as Markdown. Before each run `prepare` is called.
/// Scratch files lie in `directory`.
pub(super) fn profile(
    wall: f64,
    directory: &Path,
    mut prepare: impl FnMut() -> Result<Command>,
) -> Result<String> {
    let mut text = String::new();
    if which("perf").is_some() {
        let mut samples = BTreeMap::new();
        let data = directory.join("perf.data");
        for _ in 0..repetitions(wall) {
            let mut perf = Command::new("perf");
            perf.args(["record", "-F", "999", "-e", "cpu-clock", "-g", "-o"]).arg(&data);
            quietly(&mut wrap(perf, &prepare()?))?;
            let script = output(
                Command::new("perf")
                    .args(["script", "-F", "ip,sym,dso", "-i"])
                    .arg(&data)
                    .stderr(Stdio::null()),
            )?;
            count(&script, &mut samples);
            fs::remove_file(&data)?;
        }
        text += &busiest(&samples);
    } else {
        text += "Busy: unknown, perf is not installed.";
    }
    if which("strace").is_some() {
        let counts = directory.join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-w", "-S", "time", "-o"]).arg(&counts);
        quietly(&mut wrap(strace, &prepare()?))?;
        text += &longest(&fs::read_to_string(counts)?);
    }
    Ok(text)
}

/// Lets `observer` start `command`.
fn wrap(mut observer: Command, command: &Command) -> Command {
    observer.arg("--").arg(command.get_program()).args(command.get_args());
    observer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    observer
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("start an observer")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Counts the samples of each function in what `perf script -F ip,sym,dso` printed: a line for each
/// caller, the innermost first, and an empty line after each sample.
fn count(script: &str, samples: &mut BTreeMap<String, usize>) {
    for sample in script.split("\n\n") {
        let frames: Vec<_> = sample.lines().filter_map(frame).collect();
        let Some((function, file)) = frames.first() else { continue };
        let name = match (*function, file.rsplit('/').next().unwrap_or(file)) {
            ("[unknown]", file) => format!("something in `{file}`"),
            (function, "[kernel.kallsyms]") => {
                let entry = entry(&frames).map(|entry| format!(" (in {entry})"));
                format!("`{function}`{}", entry.unwrap_or_default())
            }
            (function, _) => format!("`{function}`"),
        };
        *samples.entry(name).or_default() += 1;
    }
}

/// Function and file of a line such as `ffffffff821e7b30 xas_start ([kernel.kallsyms])`.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (function, file) = rest.rsplit_once(" (")?;
    Some((function, file.strip_suffix(')')?))
}

/// What the kernel is asked for where these functions run.
fn entry<'a>(frames: &[(&'a str, &str)]) -> Option<&'a str> {
    let name = |at: usize| Some(frames.get(at)?.0);
    for at in 0..frames.len() {
        match name(at)? {
            "exc_page_fault" => return Some("a page fault"),
            "do_syscall_64" | "do_el0_svc" => {
                let function = name(at.checked_sub(1)?)?;
                let prefixes = ["__x64_sys_", "__arm64_sys_", "__do_sys_", "__se_sys_", "ksys_"];
                let found = prefixes.iter().find_map(|prefix| function.strip_prefix(prefix));
                return Some(found.unwrap_or(function));
            }
            _ => {}
        }
    }
    None
}

fn busiest(samples: &BTreeMap<String, usize>) -> String {
    let total: usize = samples.values().sum();
    let mut sorted: Vec<_> = samples.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shares: Vec<_> = sorted
        .iter()
        .take(FUNCTIONS)
        .map(|(name, count)| format!("{name} {:.0} %", **count as f64 * 100.0 / total as f64))
        .collect();
    format!("Busy ({total} samples): {}.", shares.join(", "))
}

/// The system calls that took longest, by the clock, from the table that `strace -c -w` wrote.
fn longest(table: &str) -> String {
    let mut calls = String::new();
    let rows = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let seconds: f64 = fields.get(1)?.parse().ok()?;
        let count: u64 = fields.get(3)?.parse().ok()?;
        let name = *fields.last()?;
        (name != "total").then_some((name, seconds, count))
    });
    for (name, seconds, count) in rows.take(CALLS) {
        let separator = if calls.is_empty() { "" } else { ", " };
        let _ = write!(calls, "{separator}`{name}` {} in {count}", time(seconds));
    }
    format!(" Longest in system calls, over all threads and while traced: {calls}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_the_innermost_function() {
        let script = "\n\tffffffff821e7b30 clear_page ([kernel.kallsyms])\n\
                      \tffffffff821f51c6 exc_page_fault ([kernel.kallsyms])\n\
                      \t            e2bc <&T as core::fmt::LowerHex>::fmt (/usr/bin/bld)\n\
                      \n\n\t            e2bc <&T as core::fmt::LowerHex>::fmt (/usr/bin/bld)\n\
                      \n\n\tffffffff81b9aa87 copy ([kernel.kallsyms])\n\
                      \tffffffff8133f691 __x64_sys_write ([kernel.kallsyms])\n\
                      \tffffffff821ef691 do_syscall_64 ([kernel.kallsyms])\n\
                      \n\n\t    55b2ab0a30e0 [unknown] (/bin/busybox)\n\n";
        let mut samples = BTreeMap::new();
        count(script, &mut samples);
        let found: Vec<_> = samples.keys().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "`<&T as core::fmt::LowerHex>::fmt`",
                "`clear_page` (in a page fault)",
                "`copy` (in write)",
                "something in `busybox`"
            ]
        );
        *samples.entry("`copy` (in write)".to_owned()).or_default() += 1;
        assert!(busiest(&samples).starts_with("Busy (5 samples): `copy` (in write) 40 %, "));
    }

    #[test]
    fn calls_are_those_of_strace() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     59.10    0.212741        1599       133         4 futex\n  \
                     9.01    0.032419          22      1453           write\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.5    95      1586         4 total\n";
        assert!(longest(table).ends_with(": `futex` 213 ms in 133, `write` 32.4 ms in 1453."));
    }

    #[test]
    fn what_is_quick_is_run_often() {
        assert_eq!([0.0, 0.1, 30.0].map(repetitions), [40, 10, 1]);
    }
}
