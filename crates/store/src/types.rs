//! Plain data.
#![expect(missing_docs, reason = "skeleton")]

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use std::path::PathBuf;

use bld_oci::Digest;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SnapshotId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot id is 16 lower-case hexadecimal digits")]
pub struct SnapshotIdError;

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:016x}", self.0) }
}
impl FromStr for SnapshotId {
    type Err = SnapshotIdError;
    fn from_str(s: &str) -> Result<Self, SnapshotIdError> {
        u64::from_str_radix(s, 16).map(Self).map_err(|_| SnapshotIdError)
    }
}
impl From<SnapshotId> for String { fn from(id: SnapshotId) -> Self { id.to_string() } }
impl TryFrom<String> for SnapshotId {
    type Error = SnapshotIdError;
    fn try_from(s: String) -> Result<Self, SnapshotIdError> { s.parse() }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo { pub id: SnapshotId, pub parent: Option<SnapshotId>, pub diff_id: Option<Digest>, pub diff_size: Option<u64>, pub content: Option<Digest>, pub created: SystemTime }

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob { pub digest: Digest, pub size: u64, pub media_type: String }

#[derive(Debug, Clone, PartialEq)]
pub struct Record { pub definition: Digest, pub op: Digest, pub scope: String, pub snapshot: Option<SnapshotId>, pub inputs: Vec<RecordInput>, pub fields: serde_json::Value, pub created: SystemTime, pub log: Option<String> }

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInput { pub name: String, pub definition: Digest, pub snapshot: Option<SnapshotId>, pub content: Option<Digest> }

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord { pub id: Digest, pub manifest: Option<Digest>, pub platform: String, pub layers: Vec<Digest>, pub created: SystemTime, pub size: u64, pub snapshot: Option<SnapshotId> }

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag { pub name: String, pub id: Digest, pub created: SystemTime }

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoDigest { pub repo: String, pub digest: Digest, pub id: Digest }

#[derive(Debug, Clone, PartialEq)]
pub struct Container { pub id: String, pub name: String, pub snapshot: Option<SnapshotId>, pub state: serde_json::Value, pub created: SystemTime }

/// What garbage collection may take besides what nothing names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcPolicy { pub dangling_images: bool, pub unused_for: Option<Duration>, pub keep_bytes: Option<u64>, pub dry_run: bool }

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport { pub records: usize, pub images: Vec<Digest>, pub snapshots: Vec<SnapshotId>, pub blobs: Vec<Digest>, pub bytes: u64 }

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally { pub count: u64, pub bytes: u64 }

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage { pub blobs: Tally, pub snapshots: Tally, pub cache_mounts: Tally, pub images: u64, pub containers: u64, pub records: u64, pub database: u64, pub reclaimable: Tally }

#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem { MissingBlob { digest: Digest }, DamagedBlob { digest: Digest, found: Digest }, MissingSnapshot { id: SnapshotId }, DamagedSnapshot { id: SnapshotId, diff_id: Digest, found: Digest }, Leftover { path: PathBuf }, Unreadable { path: PathBuf, reason: String }, Database { reason: String } }
