//! Doing what an operation says, on a snapshot.

mod copy;
mod exec;
mod mounts;

use std::path::{Path, PathBuf};

use bld_graph::{Input, MkdirOp, Op};
use bld_layer::View;
use bld_layer::copy::{CopyRequest, Item, copy as copy_files};
use bld_sandbox::Account;
use bld_store::{Active, SnapshotId};

use crate::error::StepFailure;
use crate::solver::Build;
use crate::step::Tree;

/// Largest `/etc/passwd` or `/etc/group` that is read, bytes.
const ACCOUNTS_LIMIT: u64 = 16 << 20;

/// Carries out step `index` and commits its result. `log` is set to the file that holds what the
/// step wrote, as soon as there is one.
pub(crate) fn execute(
    build: &Build,
    index: usize,
    log: &mut Option<PathBuf>,
) -> Result<SnapshotId, StepFailure> {
    let root = build.tree(index, Input::Root).and_then(Tree::snapshot);
    let active = build.env.store.prepare(root)?;
    match build.op(index) {
        Op::Exec(op) => exec::run(build, index, op, &active, log)?,
        Op::Copy(op) => copy::copy(build, index, op, &active)?,
        Op::Mkdir(op) => mkdir(op, &active)?,
        other => {
            return Err(StepFailure::Unsupported(format!(
                "{} is not supported by this version",
                other.kind()
            )));
        }
    }
    Ok(active.commit()?)
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

/// WORKDIR: the directory and its missing parents, as a copy of an empty directory makes them.
fn mkdir(op: &MkdirOp, active: &Active) -> Result<(), StepFailure> {
    let below = View::new(active.layers().to_vec());
    let user = account(&below, &op.user)?.user;
    let empty = View::plain(active.work().to_owned());
    let Some(node) = empty.lookup("/")? else { return Ok(()) };
    let chmod = DIR_MODE.parse().ok();
    copy_files(&CopyRequest {
        source: &empty,
        items: &[Item { name: node.name().to_owned(), node, filter: None }],
        dest_view: &below,
        upper: active.upper(),
        dest: Path::new(&format!("{}/", op.path.trim_end_matches('/'))),
        owner: Some((user.uid, user.gid)),
        chmod: chmod.as_ref(),
        follow_dest_symlinks: true,
        mtime: op.mtime,
    })?;
    Ok(())
}

/// Looks `spec` (`user[:group]`, empty for root) up in the root filesystem.
fn account(root: &View, spec: &str) -> Result<Account, StepFailure> {
    let passwd = root.read("/etc/passwd", ACCOUNTS_LIMIT)?;
    let group = root.read("/etc/group", ACCOUNTS_LIMIT)?;
    bld_sandbox::lookup_user(spec, passwd.as_deref(), group.as_deref())
        .map_err(|error| StepFailure::User(error.to_string()))
}
