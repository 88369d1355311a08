//! The files of a filesystem, without anything of an image around them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bld_layer::copy::{CopyRequest, Item, copy};
use bld_layer::{TarOptions, View, write_tree, write_trees};
use bld_store::{SnapshotId, Store};

use crate::error::ExportError;

/// How files are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesOptions {
    /// The time of every file, in seconds since 1970, instead of its own.
    pub mtime: Option<i64>,
    /// A directory, made at the destination, that the files go to: one plain name.
    pub subdir: Option<String>,
    /// What is at the destination and not among the files is removed.
    pub delete: bool,
}

/// Writes the files of `snapshot` into `dir`, made when missing. Files of the same name are
/// replaced, others stay unless `options` say otherwise.
pub fn write_rootfs_dir(
    store: &Store,
    snapshot: Option<SnapshotId>,
    dir: &Path,
    options: &FilesOptions,
) -> Result<(), ExportError> {
    let dir = &options.subdir.as_ref().map_or_else(|| dir.to_owned(), |name| dir.join(name));
    fs::create_dir_all(dir).map_err(ExportError::io("create", dir))?;
    let source = view(store, snapshot)?;
    if let Some(root) = source.lookup("/")? {
        let item = Item::new(root);
        copy(&CopyRequest {
            source: &source,
            items: &[item],
            dest_view: &View::new(Vec::new()),
            upper: dir,
            dest: Path::new("/"),
            owner: None,
            chmod: None,
            follow_dest_symlinks: true,
            mtime: options.mtime,
        })?;
    }
    if options.delete {
        remove_others(&source, dir, Path::new("/"))?;
    }
    Ok(())
}

/// Removes what is in `dir` and not in the directory `path` of `source`.
fn remove_others(source: &View, dir: &Path, path: &Path) -> Result<(), ExportError> {
    for entry in fs::read_dir(dir).map_err(ExportError::io("read", dir))? {
        let entry = entry.map_err(ExportError::io("read", dir))?;
        let (real, path) = (entry.path(), path.join(entry.file_name()));
        let is_dir = entry.file_type().map_err(ExportError::io("stat", &real))?.is_dir();
        match source.lookup(&path)? {
            Some(_) if is_dir => remove_others(source, &real, &path)?,
            Some(_) => {}
            None if is_dir => {
                fs::remove_dir_all(&real).map_err(ExportError::io("remove", &real))?;
            }
            None => fs::remove_file(&real).map_err(ExportError::io("remove", &real))?,
        }
    }
    Ok(())
}

/// Writes the files of `snapshot` as one tar.
pub fn write_rootfs_tar(
    store: &Store,
    snapshot: Option<SnapshotId>,
    out: &mut dyn Write,
    mtime: Option<i64>,
) -> Result<(), ExportError> {
    let tar = TarOptions { mtime, ..TarOptions::default() };
    write_tree(&view(store, snapshot)?, out, &tar)?;
    Ok(())
}

/// Writes the files of several snapshots as one tar, those of each in a directory of that name.
pub fn write_rootfs_tars(
    store: &Store,
    snapshots: &[(String, Option<SnapshotId>)],
    out: &mut dyn Write,
    mtime: Option<i64>,
) -> Result<(), ExportError> {
    let tar = TarOptions { mtime, ..TarOptions::default() };
    let tree = |(name, snapshot): &(String, Option<SnapshotId>)| {
        Ok((PathBuf::from(name), view(store, *snapshot)?))
    };
    let trees = snapshots.iter().map(tree).collect::<Result<Vec<_>, ExportError>>()?;
    write_trees(&trees, out, &tar)?;
    Ok(())
}

fn view(store: &Store, snapshot: Option<SnapshotId>) -> Result<View, ExportError> {
    Ok(View::new(match snapshot {
        Some(snapshot) => store.layers(snapshot)?,
        None => Vec::new(),
    }))
}
