//! COPY and ADD.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bld_graph::{CopyOp, CopySource, Input};
use bld_layer::View;
use bld_layer::copy::{self, CopyRequest, Item, Sharing};
use bld_store::{Active, SnapshotId};

use super::{owner, scratch};
use crate::context::{LocalContext, Remembered};
use crate::error::StepFailure;
use crate::select::{self, Place};
use crate::solver::Build;
use crate::step::{self, Files, StepInput, Tree};

/// Mode of a file that stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// How often files of a context that change while they are copied are copied again, before they are
/// taken as they come: something may be writing to a log all the time.
const ATTEMPTS: usize = 3;

/// Copies all sources of `op` onto `root` and commits the result; tells whether it is of other files
/// than the definition of the step says.
pub(super) fn copy(
    build: &Build,
    index: usize,
    op: &CopyOp,
    root: Option<SnapshotId>,
) -> Result<(SnapshotId, bool), StepFailure> {
    let mut which = Which::Defined;
    for attempt in 1.. {
        let active = build.env.store.prepare(root)?;
        let landed = Remembered::of_layer(&build.env, active.id());
        let copied = match sources(build, index, op, &active, which, &landed) {
            // It was there when the definition was made.
            Err(failure) if failure.is_of_missing_file() && attempt < ATTEMPTS => None,
            result => Some(result?),
        };
        if let Some(copied) = copied.filter(|copied| copied.changed == 0 || attempt == ATTEMPTS) {
            let unpacks =
                |source: &CopySource| matches!(source, CopySource::Tree { unpack: true, .. });
            let drifted = copied.drifted
                || copied.changed > 0
                // What is unpacked is not compared with what was read.
                || (op.sources.iter().any(unpacks) && step::contexts_changed(build, index)?);
            let snapshot = active.commit()?;
            // Without it the next copy is slower.
            let _ = landed.save();
            return Ok((snapshot, drifted));
        }
        which = Which::Current;
    }
    Err(StepFailure::Canceled)
}

/// Which files of contexts are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that the definition of the step stands for, which were read for that.
    Defined,
    /// Those that are there now.
    Current,
}

/// What was copied of contexts.
#[derive(Default)]
struct Copied {
    /// Files that were not what they were when they were read.
    changed: u64,
    /// What was read is not what the definition of the step stands for.
    drifted: bool,
}

/// Copies all sources of `op` into the upper directory of `active`.
fn sources(
    build: &Build,
    index: usize,
    op: &CopyOp,
    active: &Active,
    which: Which,
    landed: &Remembered,
) -> Result<Copied, StepFailure> {
    let root = View::new(active.layers().to_vec());
    let previous = previous(build, index)?;
    let target = Target {
        op,
        previous: previous.as_ref(),
        landed,
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
    // The files of each context, and how many of its sources are done.
    let mut taken: BTreeMap<usize, (Files, usize)> = BTreeMap::new();
    let mut copied = Copied::default();
    for source in &op.sources {
        match source {
            CopySource::Inline { name, content } => target.inline(name, content)?,
            CopySource::Tree { input: None, path, .. } => {
                let empty = View::new(Vec::new());
                select::sources(op, &empty, path, &Place::Tree("an empty filesystem"))?;
            }
            CopySource::Tree { input: Some(number), path, unpack } => {
                match build.tree(index, Input::From(*number)) {
                    Some(Tree::Context(context)) => {
                        let (files, next) = match taken.entry(*number) {
                            Entry::Occupied(entry) => entry.into_mut(),
                            Entry::Vacant(entry) => {
                                let input = Input::From(*number);
                                let (items, same) =
                                    context_files(build, index, input, context, which)?;
                                copied.drifted |= !same;
                                entry.insert((items, 0))
                            }
                        };
                        let items = files.get(*next).map(Vec::as_slice).unwrap_or_default();
                        *next += 1;
                        // Files of a context belong to nobody in the image: they land as root's.
                        let view = select::context_view(context);
                        copied.changed += target.tree(&view, items, *unpack, Some((0, 0)))?;
                    }
                    Some(Tree::Snapshot(snapshot)) => {
                        let view = select::snapshot_view(&build.env, *snapshot)?;
                        let items = select::sources(op, &view, path, &Place::Tree("the stage"))?;
                        target.tree(&view, &items, *unpack, None)?;
                    }
                    None => {
                        return Err(StepFailure::Unsupported(
                            "a source without a result".to_owned(),
                        ));
                    }
                }
            }
        }
    }
    Ok(copied)
}

/// The files that step `index` takes of a context as `input`, source by source; and whether its
/// definition stands for them.
fn context_files(
    build: &Build,
    index: usize,
    input: Input,
    context: &Arc<LocalContext>,
    which: Which,
) -> Result<(Files, bool), StepFailure> {
    let defined = build.steps[index].inputs.iter().find(|one| one.input == input);
    if which == Which::Defined
        && let Some(items) = defined.and_then(StepInput::files)
    {
        return Ok((items, true));
    }
    let remembered = Remembered::open(&build.env, context);
    let (digest, items) = select::context_files(build.vertex(index), input, context, &remembered)?;
    Ok((Arc::new(items), defined.is_some_and(|input| input.definition == digest)))
}

/// A layer whose files are as good as copies where they are equal.
struct Previous {
    upper: PathBuf,
    known: Remembered,
}

/// The layer that the same operation made last: in this place if it did, for any project may have a
/// `COPY . .`.
fn previous(build: &Build, index: usize) -> Result<Option<Previous>, StepFailure> {
    let store = &build.env.store;
    let step = &build.steps[index];
    let mut candidates = store.find_similar(&step.scope, NEIGHBOURS)?;
    candidates.retain(|record| record.op == step.op);
    candidates.extend(store.find_by_op(&step.op, 1)?);
    for snapshot in candidates.into_iter().filter_map(|record| record.snapshot) {
        if build.env.lease.hold(snapshot)? && store.is_here(snapshot)? {
            let known = Remembered::of_layer(&build.env, snapshot);
            return Ok(Some(Previous { upper: store.layer(snapshot), known }));
        }
    }
    Ok(None)
}

/// Earlier records of the same place that are looked at.
const NEIGHBOURS: usize = 4;

struct Target<'a> {
    op: &'a CopyOp,
    previous: Option<&'a Previous>,
    /// Told what lands.
    landed: &'a Remembered,
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
    ) -> Result<u64, StepFailure> {
        let dest = self.dest(items.len());
        if !unpack {
            return self.files(view, items, dest.as_ref(), owner);
        }
        let mut changed = 0;
        for item in items {
            let one = std::slice::from_ref(item);
            // The owners an archive records are kept unless --chown says otherwise.
            if !copy::unpack(&self.request(view, one, dest.as_ref(), None), item)? {
                changed += self.files(view, one, dest.as_ref(), owner)?;
            }
        }
        Ok(changed)
    }

    /// Copies `items`, or links what is in a layer already; gives the number of files that were not
    /// what they were when they were read.
    fn files(
        &self,
        view: &View,
        items: &[Item],
        dest: &Path,
        owner: Option<(u32, u32)>,
    ) -> Result<u64, StepFailure> {
        let sharing = Sharing {
            previous: self
                .previous
                .map(|Previous { upper, known }| copy::Previous { upper, known }),
            // Only what comes from layers keeps the owners it has.
            source: owner.is_none(),
            landed: Some(self.landed),
        };
        let stats = copy::copy_sharing(&self.request(view, items, dest, owner), &sharing)?;
        Ok(stats.changed)
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
        copied.map(drop)
    }
}
