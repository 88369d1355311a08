//! Directory trees of this machine.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Bytes of the regular files below `root`, each file counted once however many names it has. What
/// cannot be read counts as nothing.
pub(crate) fn size(root: &Path) -> u64 {
    let (mut bytes, mut seen) = (0, HashSet::new());
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file()
                && (metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())))
            {
                bytes += metadata.len();
            }
        }
    }
    bytes
}
