//! What changes in the store, whoever changes it.
//!
//! Other processes tell nobody what they do, but all they do leaves traces: in the database, among the
//! journals, in directories. Looking at a few files now and then is enough for a page to know what it
//! has to ask for again.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a page shows lists of, and where changes of it leave traces, relative to the root.
const TRACES: [(&str, &[&str]); 5] = [
    ("builds", &["journals"]),
    ("images", &DATABASE),
    ("containers", &DATABASE),
    ("volumes", &["db.sqlite", "db.sqlite-wal", "volumes"]),
    ("networks", &["db.sqlite", "db.sqlite-wal", "networks"]),
];

const DATABASE: [&str; 2] = ["db.sqlite", "db.sqlite-wal"];

/// The names of all kinds.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    TRACES.iter().map(|(kind, _)| *kind)
}

/// Looks at a store from outside.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    root: PathBuf,
}

/// What was seen, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look([u64; TRACES.len()]);

impl Watch {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// How everything looks now.
    pub(crate) fn look(&self) -> Look {
        Look(TRACES.map(|(_, places)| {
            let mut hasher = DefaultHasher::new();
            for place in places {
                trace(&self.root.join(place), &mut hasher);
            }
            hasher.finish()
        }))
    }
}

impl Look {
    /// The kinds that look different from what they did `before`.
    pub(crate) fn changes(&self, before: &Self) -> Vec<&'static str> {
        let both = self.0.iter().zip(before.0);
        kinds()
            .zip(both)
            .filter(|(_, (now, before))| *now != before)
            .map(|(kind, _)| kind)
            .collect()
    }
}

/// Of a file its times and size, of a directory those of all files in it.
fn trace(path: &Path, hasher: &mut DefaultHasher) {
    let Ok(meta) = fs::metadata(path) else { return };
    (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()).hash(hasher);
    if meta.is_dir() {
        let mut found: Vec<_> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
            })
            .collect();
        found.sort_unstable();
        found.hash(hasher);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart() {
        let root = std::env::temp_dir().join(format!("bld-watch-{}", std::process::id()));
        fs::create_dir_all(root.join("journals")).unwrap();
        let watch = Watch::new(&root);
        let before = watch.look();
        assert_eq!(watch.look().changes(&before), [""; 0]);
        fs::write(root.join("journals/one"), "x").unwrap();
        let one = watch.look();
        assert_eq!(one.changes(&before), ["builds"]);
        fs::write(root.join("db.sqlite-wal"), "x").unwrap();
        assert_eq!(watch.look().changes(&one), ["images", "containers", "volumes", "networks"]);
        fs::remove_dir_all(root).unwrap();
    }
}
