//! The page of `bld ui` (frontend/): made with Node, tried in a browser.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    packages,
    shell::{root, run, watch},
};

/// Makes the page.
pub(crate) fn run_alone() -> Result<()> {
    packages::for_page()?;
    if !make(|_| {})? {
        bail!("the page is not as it should be");
    }
    Ok(())
}

fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    // Colours are for terminals: what is printed here is read.
    command.current_dir(root().join("frontend")).args(arguments).env("NO_COLOR", "1");
    command
}

/// Checks the page, tests what can be tested without a browser, and makes what the next build of bld
/// embeds; whether all was well. The lines that are printed go to `line`.
pub(crate) fn make(mut line: impl FnMut(&str)) -> Result<bool> {
    // What the lock file says, and nothing else.
    run(&mut npm(&["ci", "--silent"]))?;
    for script in ["check", "lint", "test", "build"] {
        if !watch(&mut npm(&["run", "--silent", script]), &mut line)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Visits the page that `bld` serves in a browser, as people would; whether all was well.
pub(crate) fn visit(bld: &Path, line: impl FnMut(&str)) -> Result<bool> {
    watch(npm(&["run", "--silent", "e2e"]).env("BLD", bld), line)
}
