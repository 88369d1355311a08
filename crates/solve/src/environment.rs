//! What a build needs from the machine and from its caller.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use bld_event::{Cancel, Events, VertexId};
use bld_graph::{ImageOp, Op};
use bld_oci::Platform;
use bld_store::{Lease, SnapshotId, Store};

use crate::context::LocalContext;
use crate::devices::Devices;
use crate::inspect::Inspect;
use crate::shared::Shared;
use crate::traced::TracedCache;

/// Brings the layers of an image into the store.
pub trait Images: Send + Sync {
    /// The snapshot of the image's topmost layer; what is missing is fetched and unpacked first.
    /// Progress is reported on `vertex`.
    fn unpack(
        &self,
        image: &ImageOp,
        platform: &Platform,
        vertex: VertexId,
    ) -> Result<SnapshotId, Box<dyn Error + Send + Sync>>;
}

/// Brings downloads and git checkouts into the store.
pub trait Sources: Send + Sync {
    /// A snapshot of what `source`, an [`Op::Http`] or [`Op::Git`] that is resolved, leads to.
    /// Progress is reported on `vertex`.
    fn fetch(
        &self,
        source: &Op,
        vertex: VertexId,
    ) -> Result<SnapshotId, Box<dyn Error + Send + Sync>>;
}

/// The network that steps get which ask for none in particular.
#[derive(Debug, Clone)]
pub struct NetworkSetup {
    /// The bridge and its subnet.
    pub bridge: bld_network::BridgeConfig,
    /// Where addresses in use are noted down; shared by all processes of this machine.
    pub state: PathBuf,
}

/// What steps may use up.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Most steps that run at the same time; none or 0: as many as can.
    pub jobs: Option<usize>,
    /// Size of `/dev/shm`, bytes.
    pub shm_size: Option<u64>,
    /// Resource limits: name as in `setrlimit`(2) without `RLIMIT_`, lower case; soft; hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// Limits of the control group of each step.
    pub resources: bld_sandbox::Limits,
    /// Limits of all steps of the build together.
    pub together: bld_sandbox::Limits,
    /// The control group that those of the steps lie in, from the root of the hierarchy.
    pub cgroup_parent: Option<String>,
}

/// The outside of one build.
pub struct Environment {
    /// Where results are kept.
    pub store: Store,
    /// Holds what the build uses, so that no collection takes it away.
    pub lease: Arc<Lease>,
    /// Where base images come from.
    pub images: Arc<dyn Images>,
    /// Where downloads and git checkouts come from.
    pub sources: Arc<dyn Sources>,
    /// What is known elsewhere.
    pub shared: Arc<dyn Shared>,
    /// Say what is known of all steps in the end, for others.
    pub describe: bool,
    /// The local contexts by the name that [`bld_graph::ContextOp`] gives.
    pub contexts: BTreeMap<String, Arc<LocalContext>>,
    /// Whether files of contexts that have the times they had are the files they were.
    pub stat_cache: bool,
    /// Values of secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of SSH agents by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// The network.
    pub network: NetworkSetup,
    /// Limits of the steps.
    pub limits: Limits,
    /// The devices of the machine that steps can ask for.
    pub devices: Devices,
    /// What is done with what steps read.
    pub traced: TracedCache,
    /// Looks into the step that ends the build.
    pub inspect: Option<Arc<dyn Inspect>>,
    /// Where progress is reported.
    pub events: Events,
    /// Ends the build early.
    pub cancel: Cancel,
}
