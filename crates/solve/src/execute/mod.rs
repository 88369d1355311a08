//! Doing what an operation says, on a snapshot.

mod agent;
mod caches;
mod copy;
mod exec;
mod mask;
mod mounts;
mod output;

use std::fs;
use std::path::{Path, PathBuf};

use bld_graph::{ExecOp, Input, MkdirOp, Network, Op, Security};
use bld_layer::View;
use bld_layer::copy::{CopyRequest, Item, Previous, Sharing, copy as copy_files, copy_sharing};
use bld_sandbox::Account;
use bld_store::{Active, SnapshotId, StoreError};

use crate::context::Remembered;
use crate::error::StepFailure;
use crate::solver::Build;
use crate::step::{self, Tree};
use crate::traced;

pub(crate) use caches::cache_mounts;

/// Largest `/etc/passwd` or `/etc/group` that is read, bytes.
const ACCOUNTS_LIMIT: u64 = 16 << 20;

/// What an execution leaves behind however it ends.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The file that holds what the step wrote.
    pub(crate) log: Option<PathBuf>,
    /// What a failed step had made can be looked into.
    pub(crate) kept: bool,
    /// There was no space left when the step failed.
    pub(crate) full: bool,
}

/// Carries out step `index` and commits its result; tells whether files of contexts were not, or are
/// no longer, what the definition of the step says.
pub(crate) fn execute(
    build: &Build,
    index: usize,
    traces: &mut Traces,
) -> Result<(SnapshotId, bool), StepFailure> {
    build.env.store.write_out_early();
    let op = build.op(index);
    if matches!(op, Op::Http(_) | Op::Git(_)) {
        let fetched = build.env.sources.fetch(op, build.steps[index].id);
        return fetched.map(|id| (id, false)).map_err(StepFailure::Source);
    }
    let root = build.tree(index, Input::Root).and_then(Tree::snapshot);
    if let Some(root) = root {
        crate::merge_layers(&build.env.store, root);
    }
    if let Op::Copy(op) = op {
        return copy::copy(build, index, op, root)
            .inspect_err(|failure| show_before(build, index, root, failure));
    }
    let active = build.env.store.prepare(root)?;
    let mut traced = None;
    match op {
        Op::Exec(op) => match exec::run(build, index, op, &active, &mut traces.log) {
            Ok(reads) => traced = reads,
            Err(failure) => {
                traces.full = build.is_disk_full();
                traces.kept = build.keep_failed(index, active, &failure);
                return Err(failure);
            }
        },
        Op::Mkdir(op) => {
            mkdir(op, &active).inspect_err(|failure| show_before(build, index, root, failure))?;
        }
        other => {
            return Err(StepFailure::Unsupported(format!(
                "{} is not supported by this version",
                other.kind()
            )));
        }
    }
    let snapshot = active.commit()?;
    if let Some(traced) = traced {
        traced::keep(build, index, traced, snapshot)?;
    }
    Ok((snapshot, step::contexts_changed(build, index)?))
}

/// Lets somebody look at what a step without a process, which failed, was to work on.
fn show_before(build: &Build, index: usize, root: Option<SnapshotId>, failure: &StepFailure) {
    if build.env.inspect.is_none() {
        return;
    }
    let surroundings = &build.vertex(index).surroundings;
    let op = ExecOp {
        args: Vec::new(),
        env: surroundings.env.clone(),
        cwd: surroundings.cwd.clone(),
        user: surroundings.user.clone(),
        network: Network::Default,
        security: Security::Sandbox,
        mounts: Vec::new(),
        scripts: Vec::new(),
        devices: Vec::new(),
        hostname: None,
        extra_hosts: Vec::new(),
        proxy_env: Vec::new(),
    };
    // Why there is nothing to be shown is no news beside the failure itself.
    if let Ok(active) = build.env.store.prepare(root)
        && let Ok(place) = exec::Place::new(build, index, &op, &active)
    {
        place.show(failure, true);
    }
}

/// Puts the layer of `from`, which depends on nothing below it, on the root of step `index`.
pub(crate) fn relink(
    build: &Build,
    index: usize,
    from: SnapshotId,
) -> Result<SnapshotId, StepFailure> {
    let active = on_root(build, index)?;
    let landed = Remembered::of_layer(&build.env, active.id());
    let layer = build.env.store.layer(from);
    let source = View::new(vec![layer.clone()]);
    if let Some(node) = source.lookup("/")? {
        let request = CopyRequest {
            source: &source,
            items: &[Item::new(node)],
            dest_view: &View::new(Vec::new()),
            upper: active.upper(),
            dest: Path::new("/"),
            owner: None,
            chmod: None,
            follow_dest_symlinks: false,
            mtime: None,
        };
        let known = Remembered::of_layer(&build.env, from);
        let previous = Some(Previous { upper: &layer, known: &known });
        copy_sharing(&request, &Sharing { previous, source: true, landed: Some(&landed) })?;
    }
    let snapshot = active.commit()?;
    // Without it the next copy is slower.
    let _ = landed.save();
    Ok(snapshot)
}

/// Puts the layer of `from` as it is on the root of step `index`.
pub(crate) fn restack(
    build: &Build,
    index: usize,
    from: SnapshotId,
) -> Result<SnapshotId, StepFailure> {
    let active = on_root(build, index)?;
    bld_layer::merge(&[build.env.store.layer(from)], active.upper())?;
    Ok(active.commit()?)
}

/// Starts a snapshot on the root of step `index`.
fn on_root(build: &Build, index: usize) -> Result<Active, StoreError> {
    build.env.store.prepare(build.tree(index, Input::Root).and_then(Tree::snapshot))
}

impl Build {
    /// What step `index` takes as `input`.
    pub(crate) fn tree(&self, index: usize, input: Input) -> Option<&Tree> {
        let from = self.steps[index].inputs.iter().find(|candidate| candidate.input == input)?;
        self.trees[from.step].get()
    }
}

/// Mode of directories that WORKDIR makes.
const DIR_MODE: &str = "755";

/// WORKDIR: the directory and its missing parents, as a copy of an empty directory makes them. One
/// that is there stays as it is, and the layer empty.
fn mkdir(op: &MkdirOp, active: &Active) -> Result<(), StepFailure> {
    let below = View::new(active.layers().to_vec());
    let owner = owner(&below, &op.user)?;
    if below.resolve(&op.path)?.is_some_and(|node| node.meta.is_dir()) {
        return Ok(());
    }
    let dir = scratch(active);
    let io = |source| StepFailure::Io { what: format!("make {}", dir.display()), source };
    fs::create_dir(&dir).map_err(io)?;
    let empty = View::plain(&dir);
    let Some(node) = empty.lookup("/")? else { return Ok(()) };
    let chmod = DIR_MODE.parse().ok();
    copy_files(&CopyRequest {
        source: &empty,
        items: &[Item::new(node)],
        dest_view: &below,
        upper: active.upper(),
        dest: Path::new(&format!("{}/", op.path.trim_end_matches('/'))),
        owner: Some(owner),
        chmod: chmod.as_ref(),
        follow_dest_symlinks: true,
        mtime: op.mtime,
    })?;
    fs::remove_dir(&dir).map_err(io)
}

/// A directory, not made yet, for what a step needs only while it is worked on. It lies beside the
/// work directory, where what a killed process leaves is swept.
fn scratch(active: &Active) -> PathBuf {
    active.work().with_file_name(format!("scratch-{}", active.id()))
}

/// Whom files are given to that are made for `spec` (`user[:group]`): one number stands for both
/// user and group.
fn owner(root: &View, spec: &str) -> Result<(u32, u32), StepFailure> {
    let both = !spec.contains(':') && spec.parse::<u32>().is_ok();
    let Account { user, .. } =
        if both { account(root, &format!("{spec}:{spec}"))? } else { account(root, spec)? };
    Ok((user.uid, user.gid))
}

/// Looks `spec` (`user[:group]`, empty for root) up in the root filesystem.
pub(crate) fn account(root: &View, spec: &str) -> Result<Account, StepFailure> {
    let passwd = root.read("/etc/passwd", ACCOUNTS_LIMIT)?;
    let group = root.read("/etc/group", ACCOUNTS_LIMIT)?;
    bld_sandbox::lookup_user(spec, passwd.as_deref(), group.as_deref())
        .map_err(|error| StepFailure::User(error.to_string()))
}
