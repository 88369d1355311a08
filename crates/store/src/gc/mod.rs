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

use std::collections::HashMap;
use std::time::SystemTime;

use bld_oci::Digest;

pub(crate) use pass::Seized;

use graph::Graph;
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
    /// Take nothing, only tell.
    pub dry_run: bool,
}

/// What is given up besides what nothing needs.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    /// Take nothing, only tell.
    pub(crate) dry_run: bool,
    /// Images without a name, unless a container lies on them.
    pub(crate) dangling_images: bool,
    /// Snapshots, with their records and steps, that were not used since.
    pub(crate) snapshots: HashMap<SnapshotId, SystemTime>,
    /// Records that made nothing and were not used since.
    pub(crate) records_until: Option<SystemTime>,
    /// Journals of builds that were over by then.
    pub(crate) journals_until: Option<SystemTime>,
}

/// What garbage collection took, or would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
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
        let GcPolicy { dangling_images, dry_run } = *policy;
        self.give_up(&Doomed { dry_run, dangling_images, ..Doomed::default() })
    }

    /// Removes what is not in use, and what is `doomed`.
    pub(crate) fn give_up(&self, doomed: &Doomed) -> Result<GcReport> {
        let inner = self.inner();
        let mut report = GcReport::default();
        let collect = || self.collect(doomed, &mut report);
        let result = reserve::use_if_needed(&inner.root, collect);
        reserve::set_aside(&inner.root);
        result.map(|()| report)
    }

    fn collect(&self, doomed: &Doomed, report: &mut GcReport) -> Result<()> {
        let inner = self.inner();
        self.sweep()?;
        inner.write_touched()?;
        inner.measure()?;
        while inner.pass(doomed, report)? {}
        inner.remove_nameless(doomed, report)?;
        if !doomed.dry_run {
            self.remove_logs()?;
            self.remove_listings()?;
            inner.forget_builds()?;
            inner.forget_layer_sources()?;
            if let Some(until) = doomed.journals_until {
                self.remove_journals_older(until.elapsed().unwrap_or_default())?;
            }
            self.remove_layer_files()?;
            self.remove_merged()?;
            inner.db.checkpoint()?;
        }
        Ok(())
    }
}
