//! Files that are there complete or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Bytes gathered before they are written.
pub(crate) const BUFFER: usize = 1 << 20;

/// Lets `fill` write the file at `path`, under another name beside it until it is complete.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let failed = |error: io::Error| Failure::new(format!("write {}: {error}", path.display()));
    let mut out = BufWriter::with_capacity(BUFFER, File::create(&partial).map_err(failed)?);
    let written = fill(&mut out)
        .and_then(|()| out.flush().map_err(failed))
        .and_then(|()| std::fs::rename(&partial, path).map_err(failed));
    if written.is_err() {
        // Useless now; that it stays is said by its name.
        let _left = std::fs::remove_file(&partial);
    }
    written
}
