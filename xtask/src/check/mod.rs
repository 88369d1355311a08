//! `cargo xtask check`: what can be seen without running the program.

mod floors;
mod hygiene;

use anyhow::{Result, bail};

use crate::shell::{self, cargo, step};

/// One check: what it is called, and how it is done.
type Check = (&'static str, fn() -> Result<()>);

fn run_all(checks: &[Check]) -> Result<()> {
    let mut failed = Vec::new();
    for (name, check) in checks {
        step(name);
        if let Err(error) = check() {
            println!("{error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    println!("all checks passed");
    Ok(())
}

pub(crate) fn run() -> Result<()> {
    run_all(&[
        ("formatting", || run_cargo(&["fmt", "--all", "--check"])),
        ("direction of dependencies", floors::check),
        ("file hygiene", hygiene::check),
        ("lints", || {
            run_cargo(&[
                "clippy",
                "--quiet",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        }),
        ("documentation", || {
            let mut command = cargo();
            command.args(["doc", "--quiet", "--workspace", "--no-deps"]);
            // What clap prints as help is not Markdown.
            command.args(["--exclude", "bld-cli"]);
            shell::run(
                command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
            )
        }),
    ])
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    shell::run(cargo().args(arguments))
}
