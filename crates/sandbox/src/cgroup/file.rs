//! Reading and writing the small files of a control group.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::CgroupError;

pub(crate) fn error(action: &str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let (action, path) = (action.to_owned(), path.to_owned());
    move |source| CgroupError::Io { action, path, source }
}

/// Writes one value with one write(2), as the kernel wants it.
pub(crate) fn write(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = dir.join(file);
    // Not created: a missing file must be an error, not a stray file elsewhere.
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut f| f.write_all(value.as_bytes()))
        .map_err(error(&format!("write {value:?} to"), &path))
}

/// The contents without the last newline; none when they cannot be read.
pub(crate) fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok().map(|text| text.trim_end().to_owned())
}

/// The number a file holds. `max` and the like give none.
pub(crate) fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file)?.parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
pub(crate) fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    read(dir, file)?
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
}

/// Process numbers in a group itself.
pub(crate) fn processes(dir: &Path) -> Vec<i32> {
    read(dir, "cgroup.procs")
        .map(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
        .unwrap_or_default()
}

/// Makes a group; `true` when it was not there yet.
pub(crate) fn make(dir: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(error("create", dir)(e)),
    }
}

/// How long a group may stay busy with what was killed in it.
pub(super) const REMOVE_WITHIN: Duration = Duration::from_secs(2);

/// Removes a group and groups that were made below it, until `end` if need be: processes that are
/// just ending keep it busy for a moment.
pub(crate) fn remove(dir: &Path, end: Instant) -> Result<(), CgroupError> {
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                for below in below(dir) {
                    remove(&below, end)?;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => return Err(error("remove", dir)(e)),
        }
    }
}

/// The groups right below a group.
pub(crate) fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}
