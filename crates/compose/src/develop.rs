//! What is done while somebody changes the files of a service.

use serde::{Deserialize, Serialize};

use crate::forms::{self, Mapping, Words};

/// What happens when files change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Develop {
    /// One for each place with files.
    pub watch: Vec<Trigger>,
}

/// What happens when files at one place change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A file, or a directory with all below it.
    pub path: String,
    /// What is done.
    pub action: Action,
    /// Where the files are in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What does not count, in the patterns of `.dockerignore`, from the path.
    #[serde(default, deserialize_with = "forms::texts", skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// What alone counts, in the same patterns; everything when there are none.
    #[serde(default, deserialize_with = "forms::texts", skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// All files are copied once before the first change.
    #[serde(
        default,
        deserialize_with = "forms::truth",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub initial_sync: bool,
    /// What is run in the container after files were copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Hook>,
}

/// What is done about changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The image is built, and containers of it take the place of those there are.
    #[serde(rename = "rebuild")]
    Rebuild,
    /// The containers are restarted.
    #[serde(rename = "restart")]
    Restart,
    /// What changed is copied into the containers.
    #[serde(rename = "sync")]
    Sync,
    /// The same, and the containers are restarted.
    #[serde(rename = "sync+restart")]
    SyncRestart,
    /// The same, and a command is run in the containers.
    #[serde(rename = "sync+exec")]
    SyncExec,
}

impl Action {
    /// Whether files are copied.
    pub fn syncs(self) -> bool {
        matches!(self, Self::Sync | Self::SyncRestart | Self::SyncExec)
    }
}

/// A command in a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The command.
    pub command: Words,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it may do everything.
    #[serde(
        default,
        deserialize_with = "forms::truth",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub privileged: bool,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Further variables.
    #[serde(default, skip_serializing_if = "no_variables")]
    pub environment: Mapping,
}

fn no_variables(mapping: &Mapping) -> bool {
    mapping.0.is_empty()
}
