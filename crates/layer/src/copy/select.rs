//! What the words of COPY name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::CopyError;
use super::read::TakenFiles;
use crate::{Filter, Node, Result, View};

/// One source, as [`select`] found it.
#[derive(Clone)]
pub struct Item {
    /// The file or directory; symbolic links are already followed.
    pub node: Node,
    /// The name a file gets when it is put into a directory: the one it was asked for under, not
    /// that of what a link led to.
    pub name: OsString,
    /// What of it is taken, if not all (`--exclude`, `--parents`). Paths are relative to the
    /// directory; of anything else, the path is its name. Must not change once the item was
    /// [read](super::read).
    pub filter: Option<Filter>,
    /// What is taken, if the item was read.
    pub(super) read: Option<Arc<TakenFiles>>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("node", &self.node)
            .field("name", &self.name)
            .field("filtered", &self.filter.is_some())
            .finish_non_exhaustive()
    }
}

/// The sources that one word of COPY names, relative to the root of `source`, which no `..` and no
/// symbolic link leads out of.
///
/// Components with a wildcard are matched by `matches(pattern, name)`, one at a time, as Go's
/// `filepath.Match` does; links are followed before the first of them and at the very end. The
/// result is sorted. A word with wildcards may name nothing.
///
/// # Errors
/// [`CopyError::NotFound`] when a word without wildcards names nothing, or a link leads nowhere.
pub fn select(
    source: &View,
    word: &Path,
    matches: &dyn Fn(&OsStr, &OsStr) -> bool,
) -> Result<Vec<Item>, CopyError> {
    let mut base = clean(word);
    let mut patterns: Vec<OsString> = Vec::new();
    if let Some(first) = base.iter().position(has_wildcards) {
        patterns = base.iter().skip(first).map(OsStr::to_owned).collect();
        base = base.iter().take(first).collect();
    }
    let item = |path: &Path| match source.resolve(path)? {
        Some(node) => {
            let name = path.file_name().unwrap_or_default().to_owned();
            Ok(Item { name, ..Item::new(node) })
        }
        None => Err(CopyError::NotFound { path: path.to_owned() }),
    };
    if patterns.is_empty() {
        return Ok(vec![item(&Path::new("/").join(base))?]);
    }
    let found =
        source.glob(&base, patterns.len(), &|level, name| matches(&patterns[level], name))?;
    found.iter().map(|node| item(&node.path)).collect()
}

/// Whether Go's `filepath.Match` takes a component for more than plain text.
fn has_wildcards(component: &OsStr) -> bool {
    let mut bytes = component.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            // Takes the next one literally.
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    false
}

/// The path without dots; `..` stops at the root.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

impl Item {
    /// All of a file or directory, under the name it has.
    pub fn new(node: Node) -> Self {
        Self { name: node.name().to_owned(), node, filter: None, read: None }
    }

    /// Whether the item is a directory, of which the contents are taken.
    pub(super) fn is_dir(&self) -> bool {
        self.node.meta.is_dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (text, expected) in [
            ("a", false),
            ("a*", true),
            ("?", true),
            ("[[]", true),
            (r"a\*", false),
            (r"a\\*", true),
        ] {
            assert_eq!(has_wildcards(OsStr::new(text)), expected, "{text}");
        }
    }

    #[test]
    fn sources_stay_below_the_root() {
        for (word, path) in [("../x", "x"), ("/x", "x"), ("a/../../x/.", "x"), ("/", ""), (".", "")]
        {
            assert_eq!(clean(Path::new(word)), Path::new(path), "{word}");
        }
    }
}
