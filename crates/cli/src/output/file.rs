//! Files that are there complete or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Bytes gathered before they are written.
pub(crate) const BUFFER: usize = 1 << 20;

/// Lets `fill` write the file at `path`, under another name beside it until it is complete. A device or
/// a pipe is written to as it is.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("write {}: {error}", path.display()));
    // What a link leads to is meant, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Ok(found) = path.metadata()
        && !found.is_file()
    {
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        let mut out = BufWriter::with_capacity(BUFFER, file);
        return fill(&mut out).and_then(|()| out.flush().map_err(failed));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
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
