//! `cargo xtask test`: everything that can be tested on one machine.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use bld_testkit::{HostState, User};

use crate::{
    bridge::DefaultBridge,
    frontend, ordinary, packages,
    shell::{build_release, cargo, need_root, root, step, watch},
    transcript,
};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests of this package, e.g. bld-store (may be repeated); no behaviour cases
    #[arg(short, long)]
    package: Vec<String>,
    /// Fail when the corpus of other people's Dockerfiles and documents, ../shared/corpus, is missing;
    /// without this, some tests do less where it is
    #[arg(long)]
    with_corpus: bool,
}

/// How many tests there were, by outcome.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Counts what a line like `test result: ok. 3 passed; 0 failed; 1 ignored; ..` tells.
    fn count_libtest(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse().unwrap_or(0), what)) {
                Some((number, "passed")) => self.passed += number,
                Some((number, "failed")) => self.failed += number,
                Some((number, "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Counts what the closing lines of Node's runner, `# pass 3`, and of vitest, `Tests  3 passed (3)`,
    /// tell.
    fn count_page(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        match words.as_slice() {
            ["#", "pass", count] => self.passed += number(count),
            ["#", "fail" | "cancelled", count] => self.failed += number(count),
            ["Tests", rest @ ..] => {
                for pair in rest.windows(2) {
                    match pair[1] {
                        "passed" => self.passed += number(pair[0]),
                        "failed" => self.failed += number(pair[0]),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts what the closing line of the other runners, `3 passed, 0 failed`, tells.
    fn count_runner(&mut self, line: &str) {
        let numbers = line.split_once(" passed, ").and_then(|(passed, rest)| {
            Some((passed.parse::<u64>().ok()?, rest.strip_suffix(" failed")?.parse::<u64>().ok()?))
        });
        if let Some((passed, failed)) = numbers {
            self.passed += passed;
            self.failed += failed;
        }
    }
}

/// Runs the tests. The last line says how many there were, so that whoever reads only that one knows.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut tally = Tally::default();
    let code = crate::finish(run_all(options, &mut tally));
    if tally.ignored > 0 {
        println!("{} ignored; cargo's output above names them with the reason", tally.ignored);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    code
}

fn run_all(options: &Options, tally: &mut Tally) -> Result<()> {
    need_root()?;
    packages::for_tests()?;
    let corpus = root().join("../shared/corpus");
    if !corpus.is_dir() {
        if options.with_corpus {
            bail!("the corpus is not at {}", corpus.display());
        }
        println!(
            "no corpus at {}: the tests that read it pass over it, and the cases in testdata/ and in \
             the tests themselves have to do",
            corpus.display()
        );
    }
    let everything = options.package.is_empty();
    let mut failures = Vec::new();
    if everything {
        step("The page (frontend/)");
        if !frontend::make(|line| tally.count_page(line))? {
            failures.push("the page");
        }
    }
    let bld = if everything { Some(build_release()?) } else { None };
    let before = HostState::now();
    let _bridge = DefaultBridge::now();
    let _users = ordinary::Before::now();

    step("Unit, integration and end-to-end tests");
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if everything {
        command.arg("--workspace");
    }
    for package in &options.package {
        command.args(["--package", package]);
    }
    if !watch(&mut command, |line| tally.count_libtest(line))? {
        failures.push("cargo test");
    }

    if let Some(bld) = &bld {
        step("Behaviour cases (testdata/behaviour)");
        let cases = root().join("testdata/behaviour");
        for file in ["cases.json", "more.json"] {
            let mut command = Command::new("python3");
            command.arg(cases.join("run.py")).arg("--bld").arg(bld);
            command.arg("--cases").arg(cases.join(file));
            if !watch(&mut command, |line| tally.count_runner(line))? {
                failures.push("the behaviour cases");
            }
        }
    }

    if let Some(bld) = &bld {
        step("Transcripts of docker's commands (testdata/transcript)");
        if !transcript::play(bld, None, |line| tally.count_runner(line))? {
            failures.push("the transcripts");
        }
    }

    if let Some(bld) = &bld {
        for (user, name) in ordinary::USERS {
            step(&format!("Containers as an ordinary user, {name}"));
            let mut fine = ordinary::test(user, |line| tally.count_libtest(line))?;
            let scenarios = ordinary::scenarios(user);
            let who = (User::new(user == "many"), scenarios.as_str());
            fine &= transcript::play(bld, Some(who), |line| tally.count_runner(line))?;
            if !fine {
                failures.push("containers as an ordinary user");
            }
        }
    }

    if let Some(bld) = &bld {
        step("The page in a browser (frontend/e2e)");
        if !frontend::visit(bld, |line| tally.count_page(line))? {
            failures.push("the page in a browser");
        }
    }

    if let Some(bld) = &bld {
        step("A little torture");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["torture", "--kills", "25", "--fills", "6", "--cuts", "5", "--bld"]).arg(bld);
        let fine = watch(&mut command, |_| {})?;
        tally.passed += u64::from(fine);
        tally.failed += u64::from(!fine);
        if !fine {
            failures.push("the torture");
        }
    }

    step("Looking for what was left behind");
    let left = before.appeared();
    for line in &left {
        println!("left behind: {line}");
    }
    if left.is_empty() {
        tally.passed += 1;
    } else {
        tally.failed += 1;
        failures.push("the machine is not as it was before");
    }

    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_both_kinds_of_runner() {
        let mut tally = Tally::default();
        tally.count_libtest(
            "test result: FAILED. 10 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.06s",
        );
        tally.count_runner("3 passed, 4 failed");
        tally.count_runner("nothing passed, at all failed");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (13, 5, 2));
    }
}
