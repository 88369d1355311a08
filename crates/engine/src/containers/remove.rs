//! Taking containers away.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use bld_store::StoreError;

use super::model::{Container, MountSource};
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// How long whoever held a container may take to let go of it after its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes as well.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container with its files.
    pub fn remove_container(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let container = self.find_container(name)?;
        if container.state.is_running() {
            if !options.force {
                let (container, state) = (container.name, container.state.status.name());
                return Err(EngineError::RemoveRunning { container, state });
            }
            match self.kill_container(&container.id, "SIGKILL") {
                // It has ended, or removed itself, in between.
                Ok(())
                | Err(EngineError::NotRunning { .. } | EngineError::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.discard(&container, options.volumes)
    }

    /// Removes what a container that does not run has: its document, its writable layer, its files,
    /// and with `volumes` the volumes nobody named. What is gone already is no error.
    pub(super) fn discard(&self, container: &Container, volumes: bool) -> Result<()> {
        self.wait_for_waiters(container)?;
        self.delete_container(&container.id)?;
        self.forget_foreign(container)?;
        let dir = self.container_dir(&container.id)?;
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.at("remove", &dir)?,
        }
        self.announce_container(container, "destroy");
        if volumes {
            for mount in &container.mounts {
                if let MountSource::Volume { name, anonymous: true, .. } = &mount.source {
                    match self.remove_volume(name, false) {
                        // Another container uses it too; the last one takes it along.
                        Ok(())
                        | Err(EngineError::VolumeInUse { .. } | EngineError::NoSuchVolume { .. }) =>
                            {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes a container's document and writable layer. Its holder enters that it has ended and
    /// closes the layer after that.
    fn delete_container(&self, id: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.store()?.delete_container(id) {
                Err(StoreError::SnapshotInUse { .. }) if Instant::now() < end => {}
                deleted => return Ok(deleted.map(drop)?),
            }
            match self.find_container(id) {
                Ok(container) if container.state.is_running() => {
                    let (container, state) = (container.name, container.state.status.name());
                    return Err(EngineError::RemoveRunning { container, state });
                }
                Err(EngineError::NoSuchContainer { .. }) => return Ok(()),
                found => found?,
            };
            thread::sleep(Duration::from_millis(1));
        }
    }
}
