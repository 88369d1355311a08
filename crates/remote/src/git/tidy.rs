//! Making a checkout depend on nothing but its commit.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path};

use bld_dockerfile::value::redacted;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::at;
use crate::error::{RemoteError, Result};

/// git's own directory, or the file that leads to it in a submodule.
const GIT_DIR: &str = ".git";

/// Gives everything in `dir` a mode that does not depend on the umask, and the time `time` in
/// seconds since 1970. Without `keep`, what git keeps for itself goes, in submodules too.
pub(super) fn normalize(dir: &Path, keep: bool, time: i64) -> Result<()> {
    let moment = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: moment, last_modification: moment };
    for entry in fs::read_dir(dir).map_err(at("read", dir))? {
        let entry = entry.map_err(at("read", dir))?;
        let path = entry.path();
        let metadata = path.symlink_metadata().map_err(at("look at", &path))?;
        if !keep && entry.file_name() == GIT_DIR {
            let is_dir = metadata.is_dir();
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(at("remove", &path))?;
            continue;
        }
        if metadata.is_dir() {
            normalize(&path, keep, time)?;
        }
        if !metadata.is_symlink() {
            let executable = metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .map_err(at("set the mode of", &path))?;
        }
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| at("set the time of", &path)(errno.into()))?;
    }
    Ok(())
}

/// Moves what is in the directory `subdir` of `whole` to `dest`, and removes the rest. Symbolic
/// links on the way lead nowhere.
pub(super) fn lift(whole: &Path, subdir: &str, dest: &Path, remote: &str) -> Result<()> {
    let missing = || RemoteError::Subdir { remote: redacted(remote), subdir: subdir.to_owned() };
    let mut path = whole.to_owned();
    for component in Path::new(subdir).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => return Err(missing()),
        }
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(missing());
        }
    }
    for entry in fs::read_dir(&path).map_err(at("read", &path))? {
        let entry = entry.map_err(at("read", &path))?;
        let to = dest.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(at("move to", &to))?;
    }
    fs::remove_dir_all(whole).map_err(at("remove", whole))
}
