//! The files of a filesystem, without anything of an image around them.

use std::fs;
use std::io::Write;
use std::path::Path;

use bld_layer::copy::{CopyRequest, Item, copy};
use bld_layer::{TarOptions, View, write_tree};
use bld_store::{SnapshotId, Store};

use crate::error::ExportError;

/// Writes the files of `snapshot` into `dir`, made when missing. Files of the same name are
/// replaced, others stay.
pub fn write_rootfs_dir(
    store: &Store,
    snapshot: Option<SnapshotId>,
    dir: &Path,
) -> Result<(), ExportError> {
    fs::create_dir_all(dir).map_err(ExportError::io("create", dir))?;
    let source = view(store, snapshot)?;
    let Some(root) = source.lookup("/")? else { return Ok(()) };
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
        mtime: None,
    })?;
    Ok(())
}

/// Writes the files of `snapshot` as one tar.
pub fn write_rootfs_tar(
    store: &Store,
    snapshot: Option<SnapshotId>,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    write_tree(&view(store, snapshot)?, out, &TarOptions::default())?;
    Ok(())
}

fn view(store: &Store, snapshot: Option<SnapshotId>) -> Result<View, ExportError> {
    Ok(View::new(match snapshot {
        Some(snapshot) => store.layers(snapshot)?,
        None => Vec::new(),
    }))
}
