//! The measurements as tables and as a page.

use std::{fmt::Write as _, fs, process::Command};

use anyhow::Result;

use super::{
    builder,
    growth::{Chart, LINEAR},
    measure::Usage,
    plot,
    results::{Limit, Results, Row},
};
use crate::shell::{output, root};

/// Seconds for people.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        ..0.0995 => format!("{:.1} ms", seconds * 1e3).replace(".0 ms", " ms"),
        ..0.9995 => format!("{:.0} ms", seconds * 1e3),
        ..9.995 => format!("{seconds:.2} s").replace(".00 s", " s"),
        _ => format!("{seconds:.1} s").replace(".0 s", " s"),
    }
}

/// Bytes for people, who are told no more than a tenth of a megabyte.
pub(super) fn memory(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        megabytes @ ..9.95 => format!("{megabytes:.1} MB"),
        megabytes @ ..1000.0 => format!("{megabytes:.0} MB"),
        megabytes => format!("{:.1} GB", megabytes / 1e3),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cell(usage: Option<Usage>, show: impl Fn(Usage) -> String) -> String {
    usage.map_or_else(|| "failed".to_owned(), show)
}

/// What bld took, beside its goals.
pub(super) fn goals(rows: &[Row]) -> String {
    let mut text =
        "| | workload | bld | goal | | CPU | memory |\n|---|---|---:|---|---|---:|---:|\n"
            .to_owned();
    for row in rows {
        let goal = row.limit.as_ref().map(|Limit { wall, of }| {
            let of = of.as_ref().map_or(String::new(), |of| format!(" ({of})"));
            format!("≤ {}{of}", time(*wall))
        });
        let verdict = row.met().map_or("", |met| if met { "met" } else { "**missed**" });
        let most = row.memory.map_or(String::new(), |most| {
            let missed = row.own.is_none_or(|own| own.memory > most);
            format!(" (≤ {}{})", memory(most), if missed { ", **missed**" } else { "" })
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {verdict} | {} | {} |",
            row.id,
            row.title,
            cell(row.own, |own| time(own.wall)),
            goal.unwrap_or_default(),
            cell(row.own, |own| time(own.cpu)),
            cell(row.own, |own| memory(own.memory)) + &most,
        );
    }
    text
}

/// The names of all who were measured beside bld.
fn names(rows: &[Row], which: impl Fn(bool) -> bool) -> Vec<&str> {
    let mut names = Vec::new();
    for peer in rows.iter().flat_map(|row| &row.peers).filter(|peer| which(peer.has_daemon)) {
        if !names.contains(&peer.name.as_str()) {
            names.push(&peer.name);
        }
    }
    names.sort_by_key(|name| builder::place(name));
    names
}

fn table(rows: &[Row], names: &[&str], show: impl Fn(Usage, Option<Usage>) -> String) -> String {
    let mut text = "| | bld |".to_owned();
    for name in names {
        let _ = write!(text, " {name} |");
    }
    let _ = writeln!(text, "\n|---|---:|{}", "---:|".repeat(names.len()));
    for row in rows {
        if row.peers.iter().all(|peer| !names.contains(&peer.name.as_str())) {
            continue;
        }
        let _ = write!(text, "| {} | {} |", row.id, cell(row.own, |own| show(own, None)));
        for name in names {
            let peer = row.peers.iter().find(|peer| peer.name == *name);
            let cell = peer.map(|peer| cell(peer.usage, |usage| show(usage, row.own)));
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// What the others took, and how many times as long as bld.
pub(super) fn beside(rows: &[Row]) -> String {
    table(rows, &names(rows, |_| true), |usage, own| {
        let ratio = own.map_or(String::new(), |own| match usage.wall / own.wall {
            ratio @ ..9.95 => format!(" ({ratio:.1}×)"),
            ratio => format!(" ({ratio:.0}×)"),
        });
        time(usage.wall) + &ratio
    })
}

/// Processor and memory of all whose work is seen.
fn resources(rows: &[Row]) -> String {
    let show = |usage: Usage, _| format!("{}, {}", time(usage.cpu), memory(usage.memory));
    table(rows, &names(rows, |has_daemon| !has_daemon), show)
}

/// The rows that took more time than they should, with where it went.
fn profiles(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let (Some(profile), Some(own), Some(limit)) = (&row.profile, row.own, &row.limit) else {
            continue;
        };
        let _ = writeln!(
            text,
            "**{} {}**: {} where {} is the goal, {} of processors ({:.1} busy on average). {profile}\n",
            row.id,
            row.title,
            time(own.wall),
            time(limit.wall),
            time(own.cpu),
            own.cpu / own.wall,
        );
    }
    text
}

/// A chart with its table.
pub(super) fn chart(chart: &Chart) -> String {
    let mut sizes: Vec<_> =
        chart.series.iter().flat_map(|series| &series.points).map(|(size, _)| *size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut text = format!("| {} |", chart.axis);
    for size in &sizes {
        let _ = write!(text, " {} |", count(*size));
    }
    let _ =
        writeln!(text, " time grows as | memory |\n|---|{}---|---|", "---:|".repeat(sizes.len()));
    for series in &chart.series {
        let _ = write!(text, "| {} |", series.name);
        for size in &sizes {
            let found = series.points.iter().find(|(known, _)| known == size);
            let usage = found.map(|(_, usage)| *usage);
            let _ = write!(
                text,
                " {} |",
                cell(usage, |usage| format!("{}, {}", time(usage.wall), memory(usage.memory)))
            );
        }
        for exponent in
            [series.exponent(|usage| usage.wall), series.exponent(|usage| usage.memory as f64)]
        {
            let power = exponent.map_or(String::new(), |exponent| {
                let worse = if exponent > LINEAR { ", **worse than linear**" } else { "" };
                format!("n^{exponent:.2}{worse}")
            });
            let _ = write!(text, " {power} |");
        }
        text.push('\n');
    }
    text
}

fn growth(charts: &[Chart]) -> String {
    let mut text = format!(
        "## How cost grows\n\n\
         bld alone, time and peak memory. The exponent is that between the last two sizes: 1 is \
         linear, and what is above {LINEAR} is called worse.\n"
    );
    for data in charts {
        let Chart { name, title, date, .. } = data;
        let _ = writeln!(
            text,
            "\n![{title}](growth-{name}.svg)\n\n{title}, measured on {date}:\n\n{}",
            chart(data)
        );
    }
    text
}

/// The page for docs/; `rounds` is how often most things were timed.
fn page(results: &Results, rounds: usize) -> Result<String> {
    let rows = &results.rows;
    let today = jiff::Zoned::now().date().to_string();
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench` on {today} ({}).\n\n\
         Times are wall time of the whole command, all builders in turns and on the host's network unless \
         the workload says otherwise: the median of {rounds} runs, of {} where one takes less than half a \
         second, of 3 where it takes more than five and of 2 where more than fifteen. CPU is the time of processors, by bld and all that \
         runs in its containers; memory is the most that one of these processes held. `buildctl` leaves \
         results in BuildKit's cache, as bld leaves them in its store; `buildctl image` makes images of \
         them, which compresses.\n\n",
        machine()?,
        rounds * 4,
    );
    let older: Vec<_> = rows
        .iter()
        .filter(|row| row.date != today)
        .map(|row| format!("{} ({})", row.id, row.date))
        .collect();
    if !older.is_empty() {
        let _ = writeln!(text, "Measured on another day: {}.\n", older.join(", "));
    }
    let _ = writeln!(text, "## bld and its goals\n\n{}", goals(rows));
    let _ = writeln!(
        text,
        "## Beside the others\n\n\
         In parentheses how many times as long as bld; above 1 bld is faster.\n\n{}",
        beside(rows)
    );
    let _ = writeln!(
        text,
        "Processors and memory, of those that have no daemon:\n\n{}",
        resources(rows)
    );
    let _ = writeln!(text, "Versions: {}.\n", results.versions.join("; "));
    let profiles = profiles(rows);
    if !profiles.is_empty() {
        let _ = writeln!(
            text,
            "## Where the time goes\n\n\
             Where a goal is missed: the functions in which samples found processors most often, of bld and \
             what it started.\n\n{profiles}"
        );
    }
    if !results.charts.is_empty() {
        text += &growth(&results.charts);
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// Writes the page and its charts.
pub(super) fn write(results: &Results, rounds: usize) -> Result<()> {
    let docs = root().join("docs");
    fs::write(docs.join("benchmarks.md"), page(results, rounds)?)?;
    for chart in &results.charts {
        fs::write(docs.join(format!("growth-{}.svg", chart.name)), plot::svg(chart))?;
    }
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
    use crate::bench::results::tests::{row, usage};

    #[test]
    fn numbers_are_short() {
        let times = [0.0059, 0.08, 0.5304, 2.305, 12.0, 17.64].map(time);
        assert_eq!(times, ["5.9 ms", "80 ms", "530 ms", "2.31 s", "12 s", "17.6 s"]);
        assert_eq!([14_200_000, 1_500_000_000].map(memory), ["14 MB", "1.5 GB"]);
        assert_eq!([7, 1000, 200_000].map(count), ["7", "1,000", "200,000"]);
    }

    #[test]
    fn goals_are_met_or_missed() {
        let limit = Some(Limit { wall: 1.0, of: Some("cp -a".to_owned()) });
        let rows = [
            Row { limit: limit.clone(), memory: Some(10_000_000), ..row("W1", Some(0.5), &[]) },
            Row { limit, ..row("W2", None, &[]) },
            row("W3", Some(2.0), &[]),
        ];
        let text = goals(&rows);
        assert!(
            text.contains(
                "| W1 | t | 500 ms | ≤ 1 s (cp -a) | met | 250 ms | 14 MB (≤ 10 MB, **missed**) |"
            ),
            "{text}"
        );
        assert!(text.contains("| W2 | t | failed | ≤ 1 s (cp -a) | **missed** | failed |"));
        assert!(text.contains("| W3 | t | 2 s |  |  | 1 s | 14 MB |"));
    }

    #[test]
    fn ratios_need_both_times() {
        let rows = [
            row("W1", Some(1.0), &[("buildctl", Some(3.0)), ("buildah", Some(30.0))]),
            row("W2", None, &[("buildah", Some(1.0))]),
            row("W3", Some(1.0), &[]),
        ];
        let text = beside(&rows);
        assert!(text.starts_with("| | bld | buildctl | buildah |\n|---|---:|---:|---:|\n"));
        assert!(text.contains("| W1 | 1 s | 3 s (3.0×) | 30 s (30×) |\n"), "{text}");
        assert!(text.contains("| W2 | failed |  | 1 s |\n"), "{text}");
        assert!(!text.contains("W3"), "nobody took part");
        assert!(!resources(&rows).contains("buildctl"), "its work is done elsewhere");
    }

    #[test]
    fn only_missed_goals_are_explained() {
        let profile = Some("Busy: `f`.".to_owned());
        let limit = Some(Limit { wall: 1.0, of: None });
        let rows = [Row { limit, profile, ..row("W1", Some(2.0), &[]) }, row("W2", Some(3.0), &[])];
        let expected = "**W1 t**: 2 s where 1 s is the goal, 1 s of processors (0.5 busy on average). Busy: `f`.\n\n";
        assert_eq!(profiles(&rows), expected);
    }

    #[test]
    fn a_chart_says_what_is_worse_than_linear() {
        use crate::bench::growth::Series;
        let points = vec![(10, usage(0.01)), (100, usage(0.1)), (1000, usage(3.0))];
        let series = vec![
            Series { name: "all".to_owned(), points },
            Series { name: "some".to_owned(), points: vec![(10, usage(1.0)), (100, usage(1.0))] },
        ];
        let data = Chart { series, ..Chart::new("n", "t", "steps") };
        let text = chart(&data);
        assert!(text.contains("| steps | 10 | 100 | 1,000 | time grows as | memory |"), "{text}");
        assert!(text.contains("| n^1.48, **worse than linear** | n^0.00 |"), "{text}");
        assert!(
            text.contains("| some | 1 s, 14 MB | 1 s, 14 MB | failed | n^0.00 | n^0.00 |"),
            "{text}"
        );
    }
}
