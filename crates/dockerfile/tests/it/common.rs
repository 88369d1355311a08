//! Where the shared test material lies, and how to read it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bld_dockerfile::{Diagnostic, LineIndex};

/// A path below the corpus, other people's files that lie beside the workspace at `../shared/corpus`.
/// `None` on a machine that does not have it, which `cargo xtask test` says and CI refuses.
pub(crate) fn corpus(path: &str) -> Option<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.exists() {
        #[expect(clippy::print_stderr, reason = "a test that tests less says so")]
        {
            eprintln!("not tested against {path}: no corpus at {}", corpus.display());
        }
        return None;
    }
    let found = corpus.join(path);
    assert!(found.exists(), "missing in the corpus: {path}");
    Some(found)
}

/// A path below the workspace's own test material.
pub(crate) fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// The text of a file that must be there.
pub(crate) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("can't read {}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A JSON file that must be there.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The entries of a directory, sorted. Never empty.
pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("can't read {}: {e}", dir.display()))
        .map(|entry| entry.map_or_else(|e| panic!("{e}"), |entry| entry.path()))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", dir.display());
    paths
}

/// Diagnostics as text: place, message, the words underlined, remark and remedy.
pub(crate) fn render(source: &str, diagnostics: &[Diagnostic]) -> String {
    let index = LineIndex::new(source);
    let mut out = String::new();
    for diagnostic in diagnostics {
        let (line, column) = index.line_col(diagnostic.span.start);
        let kind = if diagnostic.is_error() { "error" } else { "warning" };
        let rule = diagnostic.rule.map(|rule| format!("[{rule}]")).unwrap_or_default();
        let words = source.get(diagnostic.span.range()).unwrap_or("<outside>");
        let _ = writeln!(out, "{kind}{rule}: {}", diagnostic.message);
        let _ = write!(out, "  at {line}:{column} {words:?}");
        let label = diagnostic.label.as_ref().map_or_else(String::new, |l| format!(" {l}"));
        let _ = writeln!(out, "{label}");
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "  help: {help}");
        }
    }
    out
}
