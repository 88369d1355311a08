//! Running programs while saying so.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, IsTerminal as _, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    // Asked of cargo when it runs, not when it builds: several clones may share what is built.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_owned)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Says what comes next.
pub(crate) fn step(text: &str) {
    if stdout().is_terminal() {
        println!("\x1b[1m==> {text}\x1b[0m");
    } else {
        println!("==> {text}");
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a program to its end, with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    println!("    $ {text}");
    let status = command.status().with_context(|| format!("start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    Ok(())
}

/// Runs a program whose failure is not the end; its lines of standard output are shown and handed to
/// `line`.
pub(crate) fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let text = describe(command);
    println!("    $ {text}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("start `{text}`"))?;
    let output = child.stdout.take().context("standard output is piped")?;
    for text in BufReader::new(output).split(b'\n') {
        let text = String::from_utf8_lossy(&text?).into_owned();
        println!("{text}");
        line(&text);
    }
    Ok(child.wait()?.success())
}

/// What a program prints on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command.output().with_context(|| format!("start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program lies on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    let name = text.rsplit('/').next().map(str::to_owned);
    if let Some(name) = name {
        text = name;
    }
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        let quote = if argument.contains(' ') { "'" } else { "" };
        let _ = write!(text, " {quote}{argument}{quote}");
    }
    text
}

/// Builds the release binary and returns where it is.
pub(crate) fn build_release() -> Result<PathBuf> {
    step("Building bld (release)");
    run(cargo().args(["build", "--release", "--package", "bld-cli"]))?;
    Ok(target().join("release/bld"))
}

/// Fails unless this is root's.
pub(crate) fn need_root() -> Result<()> {
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("containers are made for real: run this as root");
    }
    Ok(())
}
