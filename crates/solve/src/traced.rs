//! Reusing a RUN by what it read.
//!
//! A step that is known by neither key may still do again what it did: when nothing of what its
//! process saw has changed. So what it sees of its root filesystem is recorded (see
//! [`bld_sandbox::Traced`]), and on another root all of that is compared, file by file, with the
//! root it ran on then. When all agrees its layer is put on the new root, its files linked.
//!
//! Everything else is the operation's own (arguments, environment, user, network, mounts) and has to
//! be the same, as for any other reuse. What neither names (the time, what servers say, the machine)
//! counts as little as it does there, and so do times of files.
//!
//! Steps with a secret, an SSH agent, a cache, a device or the host's rights are never traced: there
//! is more to them than their root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bld_event::EventKind;
use bld_graph::{ExecOp, Input, MountKind, Op, Security};
use bld_layer::{Aspects, Comparison, View, differing};
use bld_sandbox::{Reads, Seen, Traced};
use bld_store::{SnapshotId, StoreError};

use crate::error::StepFailure;
use crate::execute::{self, account};
use crate::solver::Build;
use crate::step::Tree;

/// What is done with what steps read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TracedCache {
    /// Nothing: it is not recorded.
    #[default]
    Off,
    /// It is recorded, and not used.
    Record,
    /// It is recorded, and a step that read nothing that changed is not run.
    Use,
    /// It is recorded, and a step that would not be run is, to see whether it does the same. The
    /// build fails if not.
    Verify,
}

/// How many paths a message names.
const NAMED: usize = 3;

/// Whether what a process of `op` reads is to be known.
pub(crate) fn is_wanted(build: &Build, op: &ExecOp) -> bool {
    build.env.traced != TracedCache::Off && is_traceable(op)
}

/// `layers`, which step `index` runs on, such that they notice how they are read.
pub(crate) fn layers(build: &Build, index: usize, layers: &[PathBuf]) -> Option<Traced> {
    let traced = Traced::new(layers);
    traced.map_err(|error| warn(build, index, &error)).ok()
}

/// Remembers what was read to make `snapshot`.
pub(crate) fn keep(
    build: &Build,
    index: usize,
    traced: Traced,
    snapshot: SnapshotId,
) -> Result<(), StoreError> {
    match traced.finish() {
        Ok(reads) => build.env.store.put_reads(snapshot, &encode(&reads)),
        Err(error) => {
            warn(build, index, &error);
            Ok(())
        }
    }
}

fn warn(build: &Build, index: usize, error: &dyn std::error::Error) {
    let mut message = format!("what the step reads is not recorded: {error}");
    if let Some(source) = error.source() {
        message = format!("{message}: {source}");
    }
    build.emit(index, EventKind::Warning { message, url: None });
}

/// Whether a process of `op` sees nothing that changes but its root filesystem.
fn is_traceable(op: &ExecOp) -> bool {
    op.security == Security::Sandbox
        && op.devices.is_empty()
        && op.mounts.iter().all(|mount| matches!(mount.kind, MountKind::Tmpfs { .. }))
}

/// Whether the earlier result `then` of step `index` would come of its present root as well.
pub(crate) fn agrees(build: &Build, index: usize, then: SnapshotId) -> Result<bool, StepFailure> {
    let Op::Exec(op) = build.op(index) else { return Ok(false) };
    let store = &build.env.store;
    let root = build.tree(index, Input::Root).and_then(Tree::snapshot);
    let (Some(root), Some(reads)) = (root, store.reads(then)?.as_deref().and_then(decode)) else {
        return Ok(false);
    };
    let mut below = store.layers(then)?;
    below.pop();
    let (old, new) = (View::new(below), View::new(store.layers(root)?));
    // Who the user is was looked up from outside.
    if account(&old, &op.user)? != account(&new, &op.user)? {
        return Ok(false);
    }
    let mut comparison = Comparison::new(old, new);
    for (path, aspects) in reads {
        if !comparison.agree(&path, aspects)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the layer of `from` on the root of step `index`, and remembers what was read for it.
pub(crate) fn reuse(
    build: &Build,
    index: usize,
    from: SnapshotId,
) -> Result<SnapshotId, StepFailure> {
    let store = &build.env.store;
    let snapshot = execute::restack(build, index, from)?;
    if let Some(reads) = store.reads(from)? {
        store.put_reads(snapshot, &reads)?;
    }
    Ok(snapshot)
}

/// Compares what step `index` made now with `known`, in whose place it ran.
///
/// A step that does not do the same twice proves nothing where it differs from itself: so it runs
/// once more if need be.
pub(crate) fn verify(
    build: &Build,
    index: usize,
    known: SnapshotId,
    made: SnapshotId,
) -> Result<(), StepFailure> {
    let store = &build.env.store;
    let (known, made) = (store.layer(known), store.layer(made));
    let mut wrong = differing(&known, &made)?;
    if wrong.is_empty() {
        return Ok(());
    }
    let (again, _) = execute::execute(build, index, &mut execute::Traces::default())?;
    let unsteady = differing(&made, &store.layer(again))?;
    wrong.retain(|path| !unsteady.contains(path));
    if !wrong.is_empty() {
        return Err(StepFailure::WrongReuse { paths: named(&wrong) });
    }
    let message = format!("two runs of the step differ in {}", named(&unsteady));
    build.emit(index, EventKind::Warning { message, url: None });
    Ok(())
}

/// Some of the paths, and how many more there are.
fn named(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    match paths.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// One byte of flags, the path and a zero byte for each.
fn encode(reads: &Reads) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, seen) in reads {
        let Seen { attributes, contents, xattrs } = *seen;
        bytes.push(u8::from(attributes) | u8::from(contents) << 1 | u8::from(xattrs) << 2);
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What [`encode`] made; none if it did not make that.
fn decode(bytes: &[u8]) -> Option<Vec<(PathBuf, Aspects)>> {
    let mut reads = Vec::new();
    let mut rest = bytes;
    while let Some((&flags, after)) = rest.split_first() {
        let end = after.iter().position(|byte| *byte == 0)?;
        let path = Path::new("/").join(OsStr::from_bytes(&after[..end]));
        let has = |bit: u8| flags & bit != 0;
        let aspects = Aspects { attributes: has(1), contents: has(2), xattrs: has(4) };
        reads.push((path, aspects));
        rest = &after[end + 1..];
    }
    Some(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_come_back_as_they_were() {
        let all = Seen { attributes: true, contents: true, xattrs: true };
        let reads = Reads::from([
            (PathBuf::new(), Seen::default()),
            (PathBuf::from("etc/a b"), Seen { contents: true, ..Seen::default() }),
            (PathBuf::from("etc/\u{e4}"), all),
        ]);
        let contents = Aspects { contents: true, ..Aspects::default() };
        let expected = [
            (PathBuf::from("/"), Aspects::default()),
            (PathBuf::from("/etc/a b"), contents),
            (PathBuf::from("/etc/\u{e4}"), Aspects::ALL),
        ];
        assert_eq!(decode(&encode(&reads)).unwrap_or_default(), expected);
        assert_eq!(decode(b"\x01cut off"), None);
    }
}
