//! What takes how much of the disk, and what of it a policy gives up.
//!
//! Everything below the root belongs to exactly one [`DiskEntry`], and the entries add up to what
//! du(1) says. What several share by hard links, or as the blob of a layer that they all have, is
//! counted once: with one that is in use, if there is one, so that the sum of the others is what can
//! be had.

mod choose;
mod collect;
mod filter;
mod measure;
mod policy;
mod prune;
mod survey;

use std::fmt;
use std::time::SystemTime;

use crate::Store;
use crate::error::Result;

pub use choose::PruneRule;
pub use filter::{DiskFilter, FilterError};
pub use policy::{SpaceLimits, percent};
pub use prune::Pruned;

use survey::Survey;

/// What something on disk is, in BuildKit's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// What a step made.
    #[default]
    Regular,
    /// What is remembered of files of a context.
    LocalSource,
    /// A checkout of a git repository.
    GitCheckout,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
    /// Anything else: what failed steps left, images, containers, and what the store itself needs.
    Internal,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular",
            Self::LocalSource => "source.local",
            Self::GitCheckout => "source.git.checkout",
            Self::CacheMount => "exec.cachemount",
            Self::Internal => "internal",
        })
    }
}

/// Something that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name.
    pub id: String,
    /// What it is.
    pub kind: DiskKind,
    /// What it lies on.
    pub parents: Vec<String>,
    /// What made it, for people; may be empty.
    pub description: String,
    /// When it was made.
    pub created: SystemTime,
    /// When it was used last, if that is known.
    pub used: Option<SystemTime>,
    /// In how many hours it was used, if that is counted; otherwise 0.
    pub uses: u64,
    /// It may change.
    pub mutable: bool,
    /// An image, a container or a live process has it: it cannot be pruned.
    pub in_use: bool,
    /// An image or a container has it, or has some of its files.
    pub shared: bool,
    /// Bytes on disk that are counted here.
    pub bytes: u64,
}

impl Default for DiskEntry {
    fn default() -> Self {
        Self {
            id: String::new(),
            kind: DiskKind::default(),
            parents: Vec::new(),
            description: String::new(),
            created: SystemTime::UNIX_EPOCH,
            used: None,
            uses: 0,
            mutable: false,
            in_use: false,
            shared: false,
            bytes: 0,
        }
    }
}

impl Store {
    /// Everything that takes space; sizes are those of now. Looks at every file of the store.
    pub fn disk_usage(&self) -> Result<Vec<DiskEntry>> {
        Ok(Survey::take(self)?.into_entries())
    }
}
