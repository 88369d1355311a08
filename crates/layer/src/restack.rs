//! Using a layer once more.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, linkat, utimensat};

use crate::error::Context;
use crate::{Result, xattr};

/// Makes the empty directory `upper` the same layer as `layer`: what is no directory is linked,
/// under the path that it has, whiteouts included. Neither may change any more afterwards. Both are
/// on one filesystem.
///
/// # Errors
/// [`LayerError::Io`](crate::LayerError::Io), also when a file has as many links as it can have.
pub fn restack(layer: &Path, upper: &Path) -> Result<()> {
    for entry in fs::read_dir(layer).context("read directory", layer)? {
        let entry = entry.context("read directory", layer)?;
        let (from, to) = (entry.path(), upper.join(entry.file_name()));
        if entry.file_type().context("stat", &from)?.is_dir() {
            fs::create_dir(&to).context("create directory", &to)?;
            restack(&from, &to)?;
        } else {
            linkat(CWD, &from, CWD, &to, AtFlags::empty()).context("link", &to)?;
        }
    }
    // After the entries, which change the times.
    let meta = fs::symlink_metadata(layer).context("stat", layer)?;
    lchown(upper, Some(meta.uid()), Some(meta.gid())).context("change the owner of", upper)?;
    let mode = fs::Permissions::from_mode(meta.mode());
    fs::set_permissions(upper, mode).context("change the mode of", upper)?;
    let mut xattrs = xattr::kept(layer).context("read the attributes of", layer)?;
    for name in xattr::list(layer).context("read the attributes of", layer)? {
        if name.as_bytes() == xattr::OPAQUE.as_bytes()
            && let Some(value) = xattr::get(layer, &name).context("read an attribute of", layer)?
        {
            xattrs.push((name, value));
        }
    }
    let dir = fs::File::open(upper).context("open", upper)?;
    xattr::set(&dir, &xattrs).context("set the attributes of", upper)?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    utimensat(CWD, upper, &times, AtFlags::empty()).context("set the times of", upper)
}
