//! Steps of builds, by the id that a build tells: what can be run on, and what they wrote.

use std::path::PathBuf;
use std::time::SystemTime;

use bld_oci::{ContainerConfig, Digest};
use bld_store::{SnapshotId, Store};
use serde::Deserialize;

use crate::{Engine, EngineError, Result};

/// A step of a build that ended, well or not.
#[derive(Debug, Clone)]
pub struct BuildStep {
    /// Its id: the key by which its result is known.
    pub id: Digest,
    /// What it is called, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// It failed: its file system is what its process left.
    pub failed: bool,
    /// When it ended.
    pub created: SystemTime,
    /// Everything it wrote; none when it wrote nothing, or ran before logs were collected.
    pub log: Option<PathBuf>,
    /// The platform it ran on.
    pub platform: String,
    /// How a process on its file system runs.
    pub config: ContainerConfig,
    /// The file system.
    pub(crate) snapshot: SnapshotId,
}

/// What the solver notes of a step.
#[derive(Deserialize)]
struct Noted {
    platform: String,
    config: ContainerConfig,
}

impl Engine {
    /// The step that `id`, or the unique start of one, stands for. Less than [what is
    /// shown](looks_like_id) of ids stands for none: it may as well be the name of an image.
    pub fn find_step(&self, id: &str) -> Result<BuildStep> {
        find(self.store()?, id)
    }
}

/// Whether `name` is written as ids are shown, which names of images hardly ever are.
pub fn looks_like_id(name: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (12..=64).contains(&name.len()) && name.bytes().all(is_digit)
}

fn find(store: &Store, id: &str) -> Result<BuildStep> {
    let missing = || EngineError::NoSuchStep { id: id.to_owned() };
    let prefix = id.strip_prefix("sha256:").unwrap_or(id);
    if !looks_like_id(prefix) {
        return Err(missing());
    }
    let mut found = store.find_steps(prefix)?;
    if found.len() > 1 {
        return Err(EngineError::AmbiguousStep { prefix: id.to_owned() });
    }
    let step = found.pop().ok_or_else(missing)?;
    let noted: Noted = serde_json::from_value(step.config)
        .map_err(|source| EngineError::StepDocument { id: step.id, source })?;
    let log = store.step_log(&step.id);
    Ok(BuildStep {
        id: step.id,
        name: step.name,
        failed: step.failed,
        created: step.created,
        log: log.exists().then_some(log),
        platform: noted.platform,
        config: noted.config,
        snapshot: step.snapshot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_happen_to_be_hexadecimal_are_no_ids() {
        assert!(looks_like_id("0123456789ab") && looks_like_id(&"f".repeat(64)));
        for name in ["", "cafe", "0123456789a", "0123456789AB", "0123456789ag", &"f".repeat(65)] {
            assert!(!looks_like_id(name), "{name}");
        }
    }
}
