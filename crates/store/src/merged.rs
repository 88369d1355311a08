//! Runs of layers as one layer.
//!
//! overlayfs takes 500 layers (`OVL_MAX_STACK`), and each of them costs time whenever it is mounted.
//! So the lower part of a long line of snapshots is cut into runs of [`RUN`], and beside the snapshots
//! of a run there is one layer that does what all of them do, named after the highest. It is
//! made of links, by those who know how layers are merged, and a copy of what is there anyway: it
//! goes with its snapshot, and none survives the boot in which it was made, so nothing of it is
//! synced.

use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::error::Result;
use crate::line::ids;
use crate::store::Inner;
use crate::{Scratch, SnapshotId, Store, layout, list, remove};

/// Layers that are merged into one: short enough for lines that are mounted at every step, and long
/// enough for ten thousand layers.
const RUN: usize = 64;

/// Layers of a line of snapshots that can be merged into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    highest: SnapshotId,
    layers: Vec<PathBuf>,
}

impl Run {
    /// The layers, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }
}

impl Store {
    /// The runs of layers below `id` that are not merged yet. A line of snapshots that is not long
    /// has none.
    ///
    /// # Errors
    /// [`StoreError::MissingSnapshot`](crate::StoreError::MissingSnapshot)
    pub fn unmerged(&self, id: SnapshotId) -> Result<Vec<Run>> {
        let inner = self.inner();
        let line = self.line(id)?;
        if line.iter().any(|step| step.absent.is_some()) {
            return Ok(Vec::new());
        }
        let line = ids(&line);
        let (runs, _) = split(&line);
        let missing = runs.filter(|(highest, _)| !inner.is_merged(*highest));
        Ok(missing
            .map(|(highest, run)| Run {
                highest,
                layers: run.iter().map(|id| inner.upper(*id)).collect(),
            })
            .collect())
    }

    /// Keeps what is in `merged`, which is the layers of `run` in one; from now on it stands for
    /// them in [`Store::layers`]. The caller holds a snapshot above.
    pub fn put_merged(&self, run: &Run, merged: &Scratch) -> Result<()> {
        let root = &self.inner().root;
        let name = layout::merged(run.highest);
        match rustix::fs::mkdirat(root, layout::MERGED, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(root.error("create", layout::MERGED, errno)),
        }
        match rustix::fs::renameat(root, merged.name(), root, &name) {
            // Somebody else was quicker.
            Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(root.error("rename", &name, errno)),
        }
    }

    /// Removes merged layers of snapshots that are gone.
    pub(crate) fn remove_merged(&self) -> Result<()> {
        let inner = self.inner();
        for name in list::texts(&inner.root, layout::MERGED)? {
            let is_used = match name.parse() {
                Ok(id) => inner.has_row(id)?,
                Err(_) => false,
            };
            if !is_used {
                inner.session()?.discard(&inner.root, &format!("{}/{name}", layout::MERGED))?;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// The layers of a line of snapshots, lowest first, in as few directories as there are.
    pub(crate) fn stack(&self, line: &[SnapshotId]) -> Vec<PathBuf> {
        let (runs, rest) = split(line);
        let mut layers = Vec::new();
        for (highest, run) in runs {
            if self.is_merged(highest) {
                layers.push(self.root.join(layout::merged(highest)));
            } else {
                layers.extend(run.iter().map(|id| self.upper(*id)));
            }
        }
        layers.extend(rest.iter().map(|id| self.upper(*id)));
        layers
    }

    fn is_merged(&self, highest: SnapshotId) -> bool {
        let name = layout::merged(highest);
        rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes all merged layers: what they were made of may not have reached the disk.
    pub(crate) fn forget_merged(&self) -> Result<()> {
        remove::tree(&self.root, layout::MERGED)
            .map_err(|errno| self.root.error("remove", layout::MERGED, errno))
    }
}

/// The runs of a line of snapshots, each with its highest, and what is above them: never
/// nothing, since the layer of the highest snapshot is asked for alone.
fn split(
    line: &[SnapshotId],
) -> (impl Iterator<Item = (SnapshotId, &[SnapshotId])>, &[SnapshotId]) {
    let runs = if line.len() > 2 * RUN { (line.len() - 1) / RUN } else { 0 };
    let (below, rest) = line.split_at(runs * RUN);
    (below.chunks_exact(RUN).filter_map(|run| Some((*run.last()?, run))), rest)
}
