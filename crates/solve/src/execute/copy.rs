//! COPY and ADD.

use std::fs;
use std::path::{Path, PathBuf};

use bld_graph::{CopyOp, CopySource, Input};
use bld_layer::View;
use bld_layer::copy::{self, CopyRequest, Item, Sharing};
use bld_store::Active;

use super::{owner, scratch};
use crate::error::StepFailure;
use crate::select::{self, Place};
use crate::solver::Build;
use crate::step::Tree;

/// Mode of a file that stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// Copies all sources of `op` into the upper directory of `active`.
pub(super) fn copy(
    build: &Build,
    index: usize,
    op: &CopyOp,
    active: &Active,
) -> Result<(), StepFailure> {
    let root = View::new(active.layers().to_vec());
    let previous = previous(build, index)?;
    let target = Target {
        op,
        previous: previous.as_deref(),
        upper: active.upper(),
        scratch: scratch(active),
        owner: op.chown.as_deref().map(|spec| owner(&root, spec)).transpose()?,
        chmod: (op.chmod.as_deref())
            .map(str::parse::<copy::Chmod>)
            .transpose()
            .map_err(|error| StepFailure::Unsupported(error.to_string()))?,
        // A linked layer stands on nothing: what lies below must not show in it.
        below: if op.link { View::new(Vec::new()) } else { root },
        // Several sources make the destination a directory, whether it ends in a slash or not.
        many: op.sources.len() > 1,
    };
    for source in &op.sources {
        match source {
            CopySource::Inline { name, content } => target.inline(name, content)?,
            CopySource::Tree { input: None, path, .. } => {
                let empty = View::new(Vec::new());
                select::sources(op, &empty, path, &Place::Tree("an empty filesystem"))?;
            }
            CopySource::Tree { input: Some(number), path, unpack } => {
                let (view, place, owner) = match build.tree(index, Input::From(*number)) {
                    // Files of a context belong to nobody in the image: they land as root's.
                    Some(Tree::Context(context)) => {
                        (select::context_view(context), Place::Context(context), Some((0, 0)))
                    }
                    Some(Tree::Snapshot(snapshot)) => (
                        select::snapshot_view(&build.env, *snapshot)?,
                        Place::Tree("the stage"),
                        None,
                    ),
                    None => {
                        return Err(StepFailure::Unsupported(
                            "a source without a result".to_owned(),
                        ));
                    }
                };
                let items = select::sources(op, &view, path, &place)?;
                target.tree(&view, &items, *unpack, owner)?;
            }
        }
    }
    Ok(())
}

/// The layer that the same operation made last, whose files are as good as copies where they are
/// equal.
fn previous(build: &Build, index: usize) -> Result<Option<PathBuf>, StepFailure> {
    let store = &build.env.store;
    let newest = store.find_by_op(&build.steps[index].op, 1)?.pop();
    match newest.and_then(|record| record.snapshot) {
        Some(snapshot) if build.env.lease.hold(snapshot)? => Ok(store.layers(snapshot)?.pop()),
        _ => Ok(None),
    }
}

struct Target<'a> {
    op: &'a CopyOp,
    previous: Option<&'a Path>,
    upper: &'a Path,
    /// Where inline files are made before they are copied.
    scratch: PathBuf,
    owner: Option<(u32, u32)>,
    chmod: Option<copy::Chmod>,
    below: View,
    many: bool,
}

impl Target<'_> {
    fn request<'a>(
        &'a self,
        source: &'a View,
        items: &'a [Item],
        dest: &'a Path,
        owner: Option<(u32, u32)>,
    ) -> CopyRequest<'a> {
        CopyRequest {
            source,
            items,
            dest_view: &self.below,
            upper: self.upper,
            dest,
            owner: self.owner.or(owner),
            chmod: self.chmod.as_ref(),
            follow_dest_symlinks: !self.op.link,
            mtime: None,
        }
    }

    /// The destination, with a final slash where it can only be a directory.
    fn dest(&self, items: usize) -> String {
        let dest = &self.op.dest;
        if (self.many || items > 1) && !dest.ends_with('/') {
            format!("{dest}/")
        } else {
            dest.clone()
        }
    }

    fn tree(
        &self,
        view: &View,
        items: &[Item],
        unpack: bool,
        owner: Option<(u32, u32)>,
    ) -> Result<(), StepFailure> {
        let dest = self.dest(items.len());
        if !unpack {
            return self.files(view, items, dest.as_ref(), owner);
        }
        for item in items {
            let one = std::slice::from_ref(item);
            // The owners an archive records are kept unless --chown says otherwise.
            if !copy::unpack(&self.request(view, one, dest.as_ref(), None), item)? {
                self.files(view, one, dest.as_ref(), owner)?;
            }
        }
        Ok(())
    }

    /// Copies `items`, or links what is in a layer already.
    fn files(
        &self,
        view: &View,
        items: &[Item],
        dest: &Path,
        owner: Option<(u32, u32)>,
    ) -> Result<(), StepFailure> {
        // Only what comes from layers keeps the owners it has.
        let sharing = Sharing { previous: self.previous, source: owner.is_none() };
        copy::copy_sharing(&self.request(view, items, dest, owner), &sharing)?;
        Ok(())
    }

    /// A file that stands in the Dockerfile goes the way of all files, from a directory of its own.
    fn inline(&self, name: &str, content: &str) -> Result<(), StepFailure> {
        use std::os::unix::fs::PermissionsExt;

        let io = |what: &str| StepFailure::io(format!("{what} the file {name:?}"));
        let dir = self.scratch.clone();
        fs::create_dir_all(&dir).map_err(io("prepare"))?;
        let file = dir.join(name);
        fs::write(&file, content).map_err(io("write"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(INLINE_MODE)).map_err(io("write"))?;
        let view = View::plain(dir.clone());
        let item = select::bind_source(&view, name, &Place::Tree("the Dockerfile"))?;
        let dest = self.dest(1);
        let copied = self.files(&view, &[item], dest.as_ref(), Some((0, 0)));
        fs::remove_dir_all(&dir).map_err(io("remove"))?;
        copied
    }
}
