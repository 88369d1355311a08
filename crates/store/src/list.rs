//! Listing the store's own directories.

use std::ffi::CString;
use std::os::fd::AsFd;

use bld_oci::Digest;
use rustix::fs::{RawDir, SeekFrom};
use rustix::io::Errno;

use crate::error::Result;
use crate::root::Root;
use crate::{SnapshotId, layout};

/// The names in an open directory, which may have been listed before; none if it was removed
/// meanwhile.
pub(crate) fn names(directory: impl AsFd) -> rustix::io::Result<Vec<CString>> {
    rustix::fs::seek(&directory, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// The names in the directory `name` of the store, as far as they are text.
pub(crate) fn texts(root: &Root, name: &str) -> Result<Vec<String>> {
    let Some(directory) = root.open_dir(name)? else { return Ok(Vec::new()) };
    let names = names(directory).map_err(|errno| root.error("list", name, errno))?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// The blobs that lie in the store.
pub(crate) fn blobs(root: &Root) -> Result<Vec<Digest>> {
    let names = texts(root, layout::BLOBS)?;
    Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
}

/// The snapshots that lie in the store.
pub(crate) fn snapshots(root: &Root) -> Result<Vec<SnapshotId>> {
    let names = texts(root, layout::SNAPSHOTS)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
