//! What builds did: a journal of each, written while it runs and readable by others meanwhile.
//!
//! A journal is a file of JSON documents, one a line: `{"begin": ...}` first, then the [`Event`]s of the
//! build as `{"event": ...}`, then what was attested as `{"said": ...}`, then `{"end": ...}` unless the build
//! runs or was killed. Nothing but that is in it, so a value that no view may show is in no journal either.

mod carry;
mod read;
mod trigger;
mod write;

use std::time::SystemTime;

use bld_event::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::{BuildRecord, Follower};
pub use trigger::Trigger;
pub use write::BuildLog;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What was asked for.
    Begin(Box<Begin>),
    /// Something happened.
    Event(Event),
    /// Something was said about what the build made.
    Said(Box<Said>),
    /// The build is over.
    End(Box<End>),
}

/// What a build was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Begin {
    /// What people know it by: the directory, the Dockerfile if it has another name, the target.
    pub name: String,
    /// The context, a directory or where it was brought from; `-` for standard input.
    pub context: String,
    /// The Dockerfile, as given; `-` for standard input.
    pub dockerfile: String,
    /// The target, if one was given.
    pub target: Option<String>,
    /// The platform, if one was given.
    pub platform: Option<String>,
    /// Further contexts: names and where they are.
    pub named_contexts: Vec<(String, String)>,
    /// Names for the image, as given.
    pub tags: Vec<String>,
    /// Build arguments; of those that may be secrets, only the names.
    pub build_args: Vec<(String, Option<String>)>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// The network of steps, unless it is the default.
    pub network: Option<String>,
    /// Everything was to be made anew.
    pub no_cache: bool,
    /// Stages that were to be made anew.
    pub no_cache_filter: Vec<String>,
    /// Who asked for it; none if an older version wrote this.
    pub trigger: Option<Trigger>,
}

/// What was said about what a build made, and is kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The type of the predicate: a URI.
    pub predicate_type: String,
    /// Where it is kept: images by digest, directories.
    pub places: Vec<String>,
    /// The predicate. Of a list of packages there is none: the image says the same again when asked.
    pub predicate: Option<Value>,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: SystemTime,
    /// In which way.
    pub status: Status,
    /// The error, in one line.
    pub error: Option<String>,
    /// The id of the image.
    pub image: Option<String>,
    /// The names the image was given.
    pub names: Vec<String>,
    /// Its steps.
    pub steps: Counts,
}

/// Where a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It runs.
    Running,
    /// It is done.
    Completed,
    /// It failed.
    Failed,
    /// It was given up, or its process was killed.
    Canceled,
}

/// Numbers of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Those that ended well, the known ones included.
    pub completed: usize,
    /// Those whose results were known.
    pub cached: usize,
}
