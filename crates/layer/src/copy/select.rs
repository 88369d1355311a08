//! What the words of COPY name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::CopyError;
use crate::{Filter, Node, Result, Verdict, View, sys};

/// One source, as [`select`] found it.
#[derive(Clone)]
pub struct Item {
    /// The file or directory; symbolic links are already followed.
    pub node: Node,
    /// The name a file gets when it is put into a directory: the one it was asked for under, not
    /// that of what a link led to.
    pub name: OsString,
    /// What of it is taken, if not all (`--exclude`, `--parents`). Paths are relative to the
    /// directory; of anything else, the path is its name.
    pub filter: Option<Filter>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("node", &self.node)
            .field("name", &self.name)
            .field("filtered", &self.filter.is_some())
            .finish()
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
            Ok(Item { node, name: path.file_name().unwrap_or_default().to_owned(), filter: None })
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

/// A file that is copied.
pub(super) struct Taken {
    /// Relative to the item: empty for a file that is an item itself.
    pub(super) path: PathBuf,
    pub(super) node: Node,
}

impl Item {
    /// Whether the item is a directory, of which the contents are taken.
    pub(super) fn is_dir(&self) -> bool {
        self.node.meta.is_dir()
    }

    /// What is taken: of a directory, everything below it, parents first, sorted.
    pub(super) fn taken(&self, source: &View) -> Result<Vec<Taken>> {
        if self.is_dir() {
            return self.below(source, &self.node, Path::new(""));
        }
        let taken = self.verdict(Path::new(&self.name), &self.node) == Verdict::Take;
        let taken = taken.then(|| Taken { path: PathBuf::new(), node: self.node.clone() });
        Ok(taken.into_iter().collect())
    }

    fn below(&self, source: &View, dir: &Node, path: &Path) -> Result<Vec<Taken>> {
        let below = source.children(dir)?.into_par_iter().map(|node| {
            let path = path.join(node.name());
            let verdict = self.verdict(&path, &node);
            if verdict == Verdict::Skip {
                return Ok(Vec::new());
            }
            let dir = node.meta.is_dir();
            let below = if dir { self.below(source, &node, &path)? } else { Vec::new() };
            let is_taken = verdict == Verdict::Take || !below.is_empty();
            let taken = is_taken.then_some(Taken { path, node });
            Ok(taken.into_iter().chain(below).collect())
        });
        let below: Vec<Vec<_>> = below.collect::<Result<_>>()?;
        Ok(below.into_iter().flatten().collect())
    }

    fn verdict(&self, path: &Path, node: &Node) -> Verdict {
        // There is nothing a socket could be in an image; a whiteout would delete.
        if node.meta.kind == crate::Kind::Socket || node.meta.is_whiteout() {
            return Verdict::Skip;
        }
        match self.filter.as_ref().map(|filter| filter(&sys::relative(path), node.meta.is_dir())) {
            Some(Verdict::Descend) if !node.meta.is_dir() => Verdict::Skip,
            verdict => verdict.unwrap_or(Verdict::Take),
        }
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
