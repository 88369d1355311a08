//! Executes a plan: keys, lookups, and the work that remains.
//!
//! [`solve`] goes through a [`Plan`](bld_graph::Plan) in two passes. The first works out every
//! definition key and looks each one up, on the calling thread, without a runtime or a thread pool:
//! a build whose steps are all known ends there. The second drives only what is missing, each step
//! on a thread of its own, in the order a pure schedule gives.
//!
//! What the store does not know may be known elsewhere (see `shared`). A step that missed by definition is compared by content with earlier records of the same
//! operation before it runs (see `key`). The layer of a `COPY --link` depends on nothing below it:
//! when only its root is another, the layer is put on that, its files linked. A RUN whose process read nothing that changed can be
//! reused in the same way, if that is asked for (see `traced`). Work on one key is done by one process at a time: the
//! store's key lock makes the others wait and then find the record.
//!
//! Invariants:
//! - a record is written only after its snapshot is committed;
//! - a step that fails or is canceled leaves no mount, cgroup, network or process; what the process
//!   of a failed one has written is kept for people, and decides nothing;
//! - secrets reach the mounts and environment of the step that asks for them, and nothing else; where
//!   the step prints one, its log and its events have `***`.

mod content;
mod context;
mod devices;
mod duration;
mod environment;
mod error;
mod evaluate;
mod execute;
mod explain;
mod flight;
mod inspect;
mod keep;
mod key;
mod merge;
mod schedule;
mod select;
mod shared;
mod solver;
mod step;
mod traced;

pub use context::LocalContext;
pub use devices::{DeviceError, Devices, Granted};
pub use environment::{Environment, Images, Limits, NetworkSetup, Sources};
pub use error::{MemoryLimit, MissingSource, SolveError, StepError, StepFailure};
pub use inspect::{Inspect, Scene};
pub use merge::merge_layers;
pub use shared::{Alone, Offer, Shared, SolvedStep};
pub use solver::{Solved, solve};
pub use traced::TracedCache;
