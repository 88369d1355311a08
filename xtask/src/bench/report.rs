//! The measurements as a table and as a page.

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use anyhow::Result;

use super::builder::Builder;
use crate::shell::{output, root};

/// One workload with one other builder; a time is missing when the builder failed.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) own: Option<Duration>,
    pub(super) peer: Option<(&'static str, Option<Duration>)>,
}

/// The rows as a Markdown table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| | workload | bld | other | time | other ÷ bld |\n\
                    |---|---|---:|---|---:|---:|\n"
        .to_owned();
    let time = |time: Option<Duration>| {
        time.map_or("failed".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
    };
    for Row { id, title, own, peer } in rows {
        let (name, theirs) = peer.unwrap_or(("", None));
        let ratio = own.zip(theirs).map_or(String::new(), |(own, theirs)| {
            format!("{:.1}", theirs.as_secs_f64() / own.as_secs_f64())
        });
        let theirs = if peer.is_some() { time(theirs) } else { String::new() };
        let _ = writeln!(text, "| {id} | {title} | {} | {name} | {theirs} | {ratio} |", time(*own));
    }
    text
}

/// The page for docs/.
pub(super) fn page(
    rows: &[Row],
    own: &Builder,
    peers: &[Builder],
    rounds: usize,
) -> Result<String> {
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench` on {} ({}).\n\n\
         Median wall time of {rounds} runs of the whole command, bld and the other in turns, all on \
         the host's network. A number above 1 in the last column means that bld is faster.\n\n{}\n",
        jiff::Zoned::now().date(),
        machine()?,
        table(rows),
    );
    let versions = std::iter::once(own).chain(peers).filter_map(|builder| {
        let version = builder.version().ok()?;
        let named = version.starts_with(builder.name);
        Some(if named { version } else { format!("{} {version}", builder.name) })
    });
    let _ = writeln!(text, "Versions: {}.", versions.collect::<Vec<_>>().join("; "));
    Ok(text)
}

/// Writes the page.
pub(super) fn write(page: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    fs::write(&path, page)?;
    println!("written to docs/benchmarks.md");
    Ok(())
}

fn machine() -> Result<String> {
    let field = |file: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let value = line.split_once([':', '=']).map_or("?", |(_, value)| value);
        Ok(value.trim().trim_matches('"').to_owned())
    };
    let memory = field("/proc/meminfo", "MemTotal")?;
    let memory = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024 / 1024;
    Ok(format!(
        "{} × {}, {memory} GiB, {}, Linux {}, {}",
        std::thread::available_parallelism()?,
        field("/proc/cpuinfo", "model name")?,
        field("/etc/os-release", "PRETTY_NAME")?,
        output(Command::new("uname").arg("-r"))?.trim().split('-').next().unwrap_or("?"),
        output(Command::new("stat").args(["-f", "-c", "%T"]).arg(root()))?.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_need_both_times() {
        let row = |own, theirs| Row { id: "W1", title: "t", own, peer: Some(("x", theirs)) };
        let second = Some(Duration::from_secs(1));
        let text = table(&[row(second, Some(Duration::from_secs(3))), row(None, second)]);
        assert!(text.contains("| W1 | t | 1000.0 ms | x | 3000.0 ms | 3.0 |"), "{text}");
        assert!(text.contains("| W1 | t | failed | x | 1000.0 ms |  |"), "{text}");
    }
}
