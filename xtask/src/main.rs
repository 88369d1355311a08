//! The project's chores: `cargo xtask demo`, `test`, `check`, `frontend`, `bench` and `torture`.

#![expect(clippy::print_stdout, reason = "saying what it does is half of its job")]

mod bench;
mod bridge;
mod check;
mod demo;
mod frontend;
mod ordinary;
mod packages;
mod shell;
mod test;
mod torture;
mod transcript;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build bld and show it at work: a base image, a multi-stage build, a run, a cached rebuild
    Demo,
    /// Run all tests: unit, integration, end-to-end and behaviour
    Test(test::Options),
    /// Check formatting, lints, the direction of dependencies, documentation and file hygiene
    Check,
    /// Check, test and make the page of bld ui, for the next build of bld to embed
    Frontend,
    /// Time bld beside the builders found on this machine and write docs/benchmarks.md
    Bench(bench::Options),
    #[command(hide = true)]
    Timed(bench::Timed),
    /// Kill commands and fill disks at random moments, and look whether anything is lost
    Torture(torture::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Demo => demo::run(),
        Chore::Test(options) => return test::run(&options),
        Chore::Check => check::run(),
        Chore::Frontend => frontend::run_alone(),
        Chore::Bench(options) => bench::run(&options),
        Chore::Timed(options) => bench::timed(&options),
        Chore::Torture(options) => torture::run(&options),
    };
    finish(result)
}

/// The exit code of a chore; says why it failed.
fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
