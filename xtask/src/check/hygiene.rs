//! Small rules about the text of source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::shell::root;

/// A file longer than this wants to be two.
const MAX_LINES: usize = 1000;

/// What must not stand in a source file, and why. Written in two parts, or this file would be found.
const FORBIDDEN: [(&str, &str); 4] = [
    (
        concat!("#[al", "low("),
        "use #[expect(.., reason = \"..\")], which tells when it is not needed",
    ),
    (
        concat!("#![al", "low("),
        "use #![expect(.., reason = \"..\")], which tells when it is not needed",
    ),
    (concat!("to", "do!("), "finish it"),
    (concat!("unimple", "mented!("), "finish it"),
];

/// The crates whose job includes starting programs of the machine; the sandbox starts those of images.
const START_PROGRAMS: [&str; 6] = ["cli", "engine", "network", "registry", "remote", "testkit"];

pub(super) fn check() -> Result<()> {
    let root = root();
    let mut files = Vec::new();
    for directory in ["crates", "xtask"] {
        sources(&root.join(directory), &mut files)?;
    }
    files.sort();
    let mut problems = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(&root).unwrap_or(&file).display();
        problems.extend(problems_in(&text).map(|problem| format!("{name}:{problem}")));
        // Unit tests stand at the end of a file and may start what they need.
        let code = text.split(concat!("#[cfg", "(test)]")).next().unwrap_or_default();
        if code.contains(concat!("Command", "::new")) && !may_start_programs(&file) {
            problems.push(format!("{name}:1: this crate starts no programs, see xtask/src/check"));
        }
    }
    for manifest in manifests(&root)? {
        let text = fs::read_to_string(&manifest)?;
        if !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: takes no lints from the workspace", manifest.display()));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn problems_in(text: &str) -> impl Iterator<Item = String> {
    let length = text.lines().count();
    let long = (length > MAX_LINES).then(|| format!("1: {length} lines, the limit is {MAX_LINES}"));
    let forbidden = text.lines().enumerate().flat_map(|(number, line)| {
        FORBIDDEN
            .iter()
            .filter(move |(word, _)| line.contains(word))
            .map(move |(word, reason)| format!("{}: `{word}`: {reason}", number + 1))
    });
    long.into_iter().chain(forbidden)
}

/// Whether a source file may start programs: tests may, and so may some crates.
fn may_start_programs(file: &Path) -> bool {
    let parts: Vec<_> = file.iter().filter_map(|part| part.to_str()).collect();
    let in_crate = parts.iter().rposition(|part| *part == "crates").map(|at| &parts[at + 1..]);
    match in_crate {
        Some([name, "src", ..]) => START_PROGRAMS.contains(name),
        _ => true,
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn manifests(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![root.join("xtask/Cargo.toml")];
    for entry in fs::read_dir(root.join("crates"))? {
        found.push(entry?.path().join("Cargo.toml"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_start_no_programs_but_their_tests_may() {
        let may = |path: &str| may_start_programs(Path::new(path));
        assert!(may("/x/crates/store/tests/a.rs") && may("/x/crates/network/src/firewall.rs"));
        assert!(may("/x/xtask/src/main.rs") && !may("/x/crates/store/src/lib.rs"));
    }

    #[test]
    fn long_files_and_forbidden_words_are_found_with_their_line() {
        let attribute = FORBIDDEN[0].0;
        let found: Vec<_> =
            problems_in(&format!("fn a() {{}}\n{attribute}dead_code)]\n")).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("2: "));
        assert_eq!(problems_in(&"\n".repeat(MAX_LINES + 1)).count(), 1);
        assert_eq!(problems_in(&"\n".repeat(MAX_LINES)).count(), 0);
    }
}
