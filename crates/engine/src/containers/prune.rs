//! Removing all containers that have ended.

use std::time::SystemTime;

use super::RemoveOptions;
use crate::{Engine, Result, images, tree};

/// What a removal of many things took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes on disk that were freed.
    pub bytes: u64,
}

impl Engine {
    /// Removes every container that does not run, was created before `until` and has all of
    /// `labels` and none of `without`.
    pub fn prune_containers(
        &self,
        until: Option<SystemTime>,
        labels: &[(String, Option<String>)],
        without: &[(String, Option<String>)],
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for container in self.all_containers()? {
            let kept = container.state.is_running()
                || until.is_some_and(|until| container.created >= until)
                || !images::list::matches_labels(&container.config.labels, labels)
                || !images::list::lacks_labels(&container.config.labels, without);
            if kept {
                continue;
            }
            let size = self.container_size(&container)?;
            self.remove_container(&container.id, RemoveOptions::default())?;
            pruned.bytes += size;
            pruned.removed.push(container.id);
        }
        Ok(pruned)
    }

    /// Bytes the container has written itself.
    pub fn container_size(&self, container: &super::Container) -> Result<u64> {
        Ok(match self.container_upper(&container.id)? {
            Some(upper) => tree::size(&upper),
            None => 0,
        })
    }
}
