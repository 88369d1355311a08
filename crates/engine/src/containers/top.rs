//! The processes of a container, as the host's ps(1) shows them.

use std::collections::HashSet;
use std::process::Command;

use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// The processes of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// The columns' headings.
    pub titles: Vec<String>,
    /// One row for each process.
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a running container, by the columns that the arguments `args` of ps(1) choose;
    /// those of `ps -ef` when there are none.
    pub fn container_processes(&self, name: &str, args: &[String]) -> Result<Processes> {
        let container = self.find_container(name)?;
        let pids: HashSet<String> =
            container.processes()?.iter().map(ToString::to_string).collect();
        let list = pids.iter().cloned().collect::<Vec<_>>().join(",");
        let standard = ["-ef".to_owned()];
        let args = if args.is_empty() { standard.as_slice() } else { args };
        let ps = |more: &[String]| {
            Command::new("ps").args(args).args(more).output().at("run", "ps (package procps)")
        };
        // Without the processes' numbers only those of our terminal may be shown; some arguments do
        // not go together with them.
        let mut output = ps(&["-q".to_owned(), list])?;
        if !output.status.success() {
            output = ps(&[])?;
        }
        if !output.status.success() {
            let what = format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
            return Err(EngineError::Invalid { what });
        }
        let found = parse(&String::from_utf8_lossy(&output.stdout), &pids);
        let found = found.ok_or_else(|| EngineError::Invalid {
            what: "couldn't find PID field in ps output".into(),
        })?;
        self.announce_container(&container, "top");
        Ok(found)
    }
}

/// The rows of the processes `pids`; the last column may hold blanks.
fn parse(text: &str, pids: &HashSet<String>) -> Option<Processes> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next()?.split_whitespace().map(str::to_owned).collect();
    let pid = titles.iter().position(|title| title == "PID")?;
    let rows = lines.filter_map(|line| {
        let mut rest = line.trim_start();
        let mut row = Vec::with_capacity(titles.len());
        for _ in 1..titles.len() {
            let (word, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            row.push(word.to_owned());
            rest = more.trim_start();
        }
        row.push(rest.to_owned());
        row.get(pid).is_some_and(|own| pids.contains(own.trim())).then_some(row)
    });
    let rows = rows.collect();
    Some(Processes { titles, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_number_and_commands_keep_their_blanks() {
        let text = "UID  PID CMD\nroot   7 sh -c  'x y'\nroot  71 true\n";
        let pids = HashSet::from(["7".to_owned()]);
        let found = parse(text, &pids).map(|found| found.rows);
        assert_eq!(found, Some(vec![["root", "7", "sh -c  'x y'"].map(str::to_owned).to_vec()]));
        assert_eq!(parse("UID CMD\nroot x\n", &pids), None);
        let last = parse("CMD PID\nsh 7\n", &pids).map(|found| found.rows.len());
        assert_eq!(last, Some(1));
    }
}
