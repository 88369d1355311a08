//! Where things lie below the root. The tree is drawn in the crate's documentation.

use bld_oci::Digest;

use crate::SnapshotId;

/// The boot in which the store was last made ready; see [`epoch`](crate::epoch).
pub(crate) const EPOCH: &str = "epoch";
/// The database.
pub(crate) const DATABASE: &str = "db.sqlite";
/// What the blobs lie in.
pub(crate) const BLOBS_PARENT: &str = "blobs";
/// Blobs, by the hexadecimal digits of their digest, as in an OCI image layout.
pub(crate) const BLOBS: &str = "blobs/sha256";
/// Snapshots, by id.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Work in flight, one directory per session.
pub(crate) const SESSIONS: &str = "tmp";
/// The file whose ranges are locked by key.
pub(crate) const LOCKS: &str = "locks";
/// Stat caches, by the digest of their scope.
pub(crate) const STAT_CACHES: &str = "statcache";
/// Files of containers, by container id; the engine's to fill.
pub(crate) const CONTAINERS: &str = "containers";
/// Contents of `RUN --mount=type=cache`.
pub(crate) const CACHE_MOUNTS: &str = "cachemounts";
/// Full logs of steps, see [`step_log`]; the engine's to fill.
pub(crate) const LOGS: &str = "logs";
/// Layers of mount points, see [`mount_points`](crate::mount_points); made when they are needed.
pub(crate) const MOUNT_POINTS: &str = "mountpoints";

/// Runs of layers as one layer each, by the highest snapshot of the run; made when they are needed.
pub(crate) const MERGED: &str = "merged";

/// Listings of the files that records have as inputs, by the digest that stands for them.
pub(crate) const LISTINGS: &str = "listings";

/// Journals of builds.
pub(crate) const JOURNALS: &str = "journals";

/// What the last survey for limits of the cache found, and by its time, when.
pub(crate) const COLLECTED: &str = "collected";

/// Space that garbage collection may use up when there is no other.
pub(crate) const RESERVE: &str = "reserve";

/// Every directory of the layout, parents first.
pub(crate) const DIRECTORIES: [&str; 8] =
    [BLOBS_PARENT, BLOBS, SNAPSHOTS, SESSIONS, STAT_CACHES, CONTAINERS, CACHE_MOUNTS, LOGS];

/// A blob's file.
pub(crate) fn blob(digest: &Digest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// The directory of a cache mount, by its key.
pub(crate) fn cache_mount(key: &str) -> String {
    format!("{CACHE_MOUNTS}/{key}")
}

/// What says which cache mount that is.
pub(crate) fn cache_mount_about(key: &str) -> String {
    format!("{CACHE_MOUNTS}/{key}.json")
}

/// A stat cache.
pub(crate) fn stat_cache(name: &str) -> String {
    format!("{STAT_CACHES}/{name}")
}

/// The log of a step, by the digits of its id.
pub(crate) fn step_log(id: &str) -> String {
    format!("{LOGS}/{id}.log")
}

/// A listing, by the digest of what it lists.
pub(crate) fn listing(content: &Digest) -> String {
    format!("{LISTINGS}/{}", content.hex())
}

/// A run of layers as one layer.
pub(crate) fn merged(highest: SnapshotId) -> String {
    format!("{MERGED}/{highest}")
}

/// A snapshot's directory, which is an overlay upper directory.
pub(crate) fn snapshot(id: SnapshotId) -> String {
    format!("{SNAPSHOTS}/{id}")
}
