//! What a step leaves for people: its file system under the id they are told.

use std::time::SystemTime;

use bld_oci::ContainerConfig;
use bld_store::{Active, SnapshotId, Step, StoreError};
use serde_json::json;

use crate::error::StepFailure;
use crate::solver::Build;

/// Less than this, or a twentieth of a small disk, is little room, bytes.
const SHORT: u64 = 1 << 30;

/// Less than this is none, bytes.
const FULL: u64 = 256 << 10;

impl Build {
    /// Remembers `snapshot` as what step `index` made.
    pub(crate) fn keep(&self, index: usize, snapshot: SnapshotId) -> Result<(), StoreError> {
        match self.kept(index, snapshot, false) {
            Some(step) => self.env.store.put_step(&step),
            None => Ok(()),
        }
    }

    /// The same for a step that takes no part in caching, where nothing is written without need.
    pub(crate) fn keep_source(&self, index: usize, snapshot: SnapshotId) -> Result<(), StoreError> {
        let Some(id) = self.steps[index].definition else { return Ok(()) };
        match self.env.store.step(&id)? {
            Some(known) if known.snapshot == snapshot => Ok(()),
            _ => self.keep(index, snapshot),
        }
    }

    /// Keeps what step `index` had written when its process failed; a step that was given up is of
    /// no interest. The step has failed already: what cannot be kept is not there to be looked into.
    /// Tells whether it is.
    pub(crate) fn keep_failed(&self, index: usize, active: Active, failure: &StepFailure) -> bool {
        let by_itself = matches!(
            failure,
            StepFailure::Exit { .. } | StepFailure::Signal { .. } | StepFailure::OutOfMemory { .. }
        );
        if !by_itself || self.cancel.is_canceled() || self.is_disk_short() {
            return false;
        }
        let Ok(snapshot) = active.commit() else { return false };
        let step = self.kept(index, snapshot, true);
        step.is_some_and(|step| self.env.store.put_step(&step).is_ok())
    }

    /// Whether there is so little room that what failed for want of it would be in the way.
    fn is_disk_short(&self) -> bool {
        let disk = rustix::fs::statvfs(self.env.store.root());
        disk.is_ok_and(|disk| {
            let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
            free < SHORT.min(all / 20)
        })
    }

    /// Whether a process that writes would be told that there is no space left.
    pub(crate) fn is_disk_full(&self) -> bool {
        let disk = rustix::fs::statvfs(self.env.store.root());
        disk.is_ok_and(|disk| {
            disk.f_bavail * disk.f_frsize < FULL || (disk.f_files > 0 && disk.f_favail == 0)
        })
    }

    fn kept(&self, index: usize, snapshot: SnapshotId, failed: bool) -> Option<Step> {
        let vertex = self.vertex(index);
        let surroundings = &vertex.surroundings;
        let config = ContainerConfig {
            env: surroundings.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            user: surroundings.user.clone(),
            working_dir: surroundings.cwd.clone(),
            shell: surroundings.shell.clone(),
            cmd: Some(vec![surroundings.shell().to_owned()]),
            ..ContainerConfig::default()
        };
        let config = json!({ "platform": vertex.platform.to_string(), "config": config });
        Some(Step {
            id: self.steps[index].definition?,
            name: vertex.name.clone(),
            snapshot,
            config,
            failed,
            created: SystemTime::now(),
        })
    }
}
