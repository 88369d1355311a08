//! Skeleton of the store.
#![expect(missing_docs, unused_variables, clippy::todo, clippy::unused_self, reason = "skeleton")]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use bld_oci::Digest;
use serde_json::Value;
use crate::{Container, GcPolicy, GcReport, ImageRecord, LayerBlob, Problem, Record, RepoDigest, Result, SnapshotId, SnapshotInfo, Tag, Usage};

#[derive(Clone, Debug)] pub struct Store;
#[derive(Debug)] pub struct BlobWriter;
#[derive(Debug)] pub struct Active;
#[derive(Debug)] pub struct KeyLock;
#[derive(Debug)] pub struct Lease;
#[derive(Debug)] pub struct StatCache;
/// What is compared to trust a remembered digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatKey { pub dev: u64, pub ino: u64, pub mode: u32, pub size: u64, pub mtime_ns: i64, pub ctime_ns: i64 }

impl Write for BlobWriter { fn write(&mut self, b: &[u8]) -> io::Result<usize> { todo!() } fn flush(&mut self) -> io::Result<()> { todo!() } }
impl BlobWriter { pub fn commit(self, expected: Option<Digest>) -> Result<(Digest, u64)> { todo!() } }
impl Active {
    pub fn id(&self) -> SnapshotId { todo!() }
    pub fn parent(&self) -> Option<SnapshotId> { todo!() }
    pub fn upper(&self) -> &Path { todo!() }
    pub fn work(&self) -> &Path { todo!() }
    /// Parents only, lowest first.
    pub fn layers(&self) -> &[PathBuf] { todo!() }
    pub fn commit(self) -> Result<SnapshotId> { todo!() }
    /// Keeps the writable layer beyond this process, for container `id`; `Store::container_layer` opens it again.
    pub fn keep(self, container: &str) -> Result<ContainerLayer> { todo!() }
}
/// The writable layer of a container: survives the process, opened by one process at a time.
#[derive(Debug)] pub struct ContainerLayer;
impl ContainerLayer {
    pub fn id(&self) -> SnapshotId { todo!() }
    pub fn upper(&self) -> &Path { todo!() }
    pub fn work(&self) -> &Path { todo!() }
    pub fn layers(&self) -> &[PathBuf] { todo!() }
}
impl Lease { pub fn hold(&self, id: SnapshotId) -> Result<bool> { todo!() } pub fn hold_blob(&self, digest: &Digest) -> Result<bool> { todo!() } }
impl StatCache { pub fn get(&self, key: &StatKey) -> Option<Digest> { todo!() } pub fn insert(&self, key: StatKey, digest: Digest) { todo!() } pub fn save(self) -> Result<()> { todo!() } }
impl Store {
    pub fn open(root: &Path) -> Result<Self> { todo!() }
    pub fn root(&self) -> &Path { todo!() }
    pub fn logs_dir(&self) -> PathBuf { todo!() }
    pub fn containers_dir(&self) -> PathBuf { todo!() }
    pub fn cache_mounts_dir(&self) -> PathBuf { todo!() }
    pub fn has_blob(&self, digest: &Digest) -> bool { todo!() }
    pub fn blob_path(&self, digest: &Digest) -> PathBuf { todo!() }
    pub fn open_blob(&self, digest: &Digest) -> Result<File> { todo!() }
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> { todo!() }
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> { todo!() }
    pub fn blob_writer(&self) -> Result<BlobWriter> { todo!() }
    pub fn remove_blob(&self, digest: &Digest) -> Result<()> { todo!() }
    pub fn prepare(&self, parent: Option<SnapshotId>) -> Result<Active> { todo!() }
    pub fn container_layer(&self, container: &str) -> Result<ContainerLayer> { todo!() }
    pub fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotInfo>> { todo!() }
    pub fn layers(&self, id: SnapshotId) -> Result<Vec<PathBuf>> { todo!() }
    pub fn ancestry(&self, id: SnapshotId) -> Result<Vec<SnapshotId>> { todo!() }
    pub fn set_diff_id(&self, id: SnapshotId, diff_id: &Digest, size: u64) -> Result<()> { todo!() }
    pub fn set_content(&self, id: SnapshotId, content: &Digest) -> Result<()> { todo!() }
    pub fn snapshot_of_chain(&self, chain: &Digest) -> Result<Option<SnapshotId>> { todo!() }
    pub fn set_chain(&self, chain: &Digest, id: SnapshotId) -> Result<()> { todo!() }
    pub fn remove_snapshot(&self, id: SnapshotId) -> Result<()> { todo!() }
    pub fn layer_blob(&self, diff_id: &Digest, key: &str) -> Result<Option<LayerBlob>> { todo!() }
    pub fn any_layer_blob(&self, diff_id: &Digest) -> Result<Option<LayerBlob>> { todo!() }
    pub fn set_layer_blob(&self, diff_id: &Digest, key: &str, blob: &LayerBlob) -> Result<()> { todo!() }
    pub fn put_record(&self, record: &Record) -> Result<()> { todo!() }
    pub fn find_record(&self, definition: &Digest) -> Result<Option<Record>> { todo!() }
    pub fn find_by_op(&self, op: &Digest, limit: usize) -> Result<Vec<Record>> { todo!() }
    pub fn find_similar(&self, scope: &str, limit: usize) -> Result<Vec<Record>> { todo!() }
    pub fn put_image(&self, image: &ImageRecord) -> Result<()> { todo!() }
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRecord>> { todo!() }
    pub fn images(&self) -> Result<Vec<ImageRecord>> { todo!() }
    pub fn delete_image(&self, id: &Digest) -> Result<bool> { todo!() }
    pub fn tag(&self, name: &str, id: &Digest, repo_digest: Option<Digest>) -> Result<()> { todo!() }
    pub fn untag(&self, name: &str) -> Result<bool> { todo!() }
    pub fn resolve(&self, name: &str) -> Result<Option<Digest>> { todo!() }
    pub fn tags(&self) -> Result<Vec<Tag>> { todo!() }
    pub fn tags_of(&self, id: &Digest) -> Result<Vec<Tag>> { todo!() }
    /// Config digests that start with `hex`.
    pub fn find_by_prefix(&self, hex: &str) -> Result<Vec<Digest>> { todo!() }
    pub fn add_repo_digest(&self, repo: &str, digest: &Digest, id: &Digest) -> Result<()> { todo!() }
    pub fn repo_digests_of(&self, id: &Digest) -> Result<Vec<RepoDigest>> { todo!() }
    pub fn find_repo_digest(&self, repo: &str, digest: &Digest) -> Result<Option<Digest>> { todo!() }
    pub fn put_container(&self, id: &str, name: &str, state: &Value) -> Result<()> { todo!() }
    pub fn container(&self, id_or_name: &str) -> Result<Option<Container>> { todo!() }
    pub fn containers(&self) -> Result<Vec<Container>> { todo!() }
    pub fn update_container(&self, id: &str, change: impl FnOnce(&mut Value)) -> Result<Container> { todo!() }
    pub fn rename_container(&self, id: &str, name: &str) -> Result<()> { todo!() }
    pub fn delete_container(&self, id: &str) -> Result<bool> { todo!() }
    pub fn lock(&self, key: &str) -> Result<KeyLock> { todo!() }
    pub fn try_lock(&self, key: &str) -> Result<Option<KeyLock>> { todo!() }
    pub fn lease(&self) -> Lease { todo!() }
    pub fn get(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> { todo!() }
    pub fn put(&self, bucket: &str, key: &str, value: &[u8]) -> Result<()> { todo!() }
    pub fn delete(&self, bucket: &str, key: &str) -> Result<bool> { todo!() }
    pub fn keys(&self, bucket: &str) -> Result<Vec<String>> { todo!() }
    /// Remembered file digests of one context directory.
    pub fn stat_cache(&self, scope: &str) -> Result<StatCache> { todo!() }
    /// Makes everything committed so far survive a power cut (one syncfs; nothing to do: nothing done).
    pub fn sync(&self) -> Result<()> { todo!() }
    pub fn sweep(&self) -> Result<()> { todo!() }
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> { todo!() }
    pub fn usage(&self) -> Result<Usage> { todo!() }
    pub fn check(&self) -> Result<Vec<Problem>> { todo!() }
}
