//! Garbage collection: mark what is in use, sweep the rest.
//!
//! The decision is one write transaction, so nothing can be named while it is taken. Before a row
//! goes, the object's exclusive lock is taken, which fails if a live process holds it; that makes
//! it a root like any other. The lock is kept until the files are gone. Should this process die
//! after the commit, marks in its session say what is still to be removed (`session.rs`).
//!
//! Locks are descriptors, and transactions must be short, so it goes in passes of limited size.

mod graph;
mod nameless;
mod pass;
pub(crate) mod reserve;
mod roots;

use std::time::Duration;

use bld_oci::Digest;

pub(crate) use graph::Graph;
pub(crate) use roots::mark_containers;

use roots::Roots;

use crate::error::Result;
use crate::{SnapshotId, Store};

/// What garbage collection takes besides what nothing needs. The default takes nothing else.
///
/// What nothing needs is: snapshots that no image, container or cache record has or lies on, blobs
/// that are not part of an image nor of such a snapshot's layer, and that no live process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcPolicy {
    /// Images without a tag or repository digest, unless a container lies on them.
    pub dangling_images: bool,
    /// Cache records, stat caches, and what failed steps left, that were not used for so long. Zero
    /// means all.
    pub unused_for: Option<Duration>,
    /// The least recently used cache records, until what only the cache keeps takes no more than
    /// this many bytes.
    pub keep_bytes: Option<u64>,
    /// Take nothing, only tell.
    pub dry_run: bool,
}

/// What garbage collection took, or would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Number of cache records and failed steps.
    pub records: usize,
    /// Images.
    pub images: Vec<Digest>,
    /// Snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Bytes on disk of all of them.
    pub bytes: u64,
}

impl Store {
    /// Removes what is not in use.
    ///
    /// Nothing that a live process holds, has prepared or has made and not yet named is touched,
    /// this one included. Others may use the store meanwhile; they wait for moments at most. After
    /// an error or a sudden end the store is whole, and the next collection goes on. It works on a
    /// full disk, too: a little space is set aside for it.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        let inner = self.inner();
        let mut report = GcReport::default();
        let result = reserve::use_if_needed(&inner.root, || self.collect(policy, &mut report));
        reserve::set_aside(&inner.root);
        result.map(|()| report)
    }

    fn collect(&self, policy: &GcPolicy, report: &mut GcReport) -> Result<()> {
        let inner = self.inner();
        self.sweep()?;
        inner.write_touched()?;
        inner.measure()?;
        while inner.pass(policy, report)? {}
        inner.remove_nameless(policy, report)?;
        if !policy.dry_run {
            inner.remove_stat_caches(policy)?;
            self.remove_logs()?;
            self.remove_listings()?;
            inner.forget_builds()?;
            if let Some(age) = policy.unused_for {
                self.remove_journals_older(age)?;
            }
            self.remove_layer_files()?;
            inner.db.checkpoint()?;
        }
        Ok(())
    }
}
