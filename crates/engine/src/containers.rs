//! Containers: made from images, started, watched, stopped, turned into images again, removed.
//!
//! A container is a document in the store ([`Container`]), a writable layer over its image's
//! snapshot, and, while it runs, a process tree that one process of ours holds: the one that ran
//! it in the foreground, or its [`monitor`]. The holder has the writable layer open, which only one
//! process can; writes the output to the log; and enters how the container ended. When a holder is
//! killed the kernel kills the container with it, and whoever looks at the container next enters
//! that (`liveness`).

mod announce;
mod attach;
mod changes;
pub(crate) mod commit;
mod control;
mod copy;
mod create;
mod exec;
mod exec_held;
mod export;
mod find;
mod foreign;
mod health;
mod inhabitants;
mod lifecycle;
mod liveness;
mod logging;
pub mod logs;
mod model;
pub mod monitor;
pub(crate) mod names;
mod neighbours;
mod network;
mod place;
mod process;
mod prune;
mod relay;
mod remove;
mod restart;
mod security;
pub(crate) mod spec;
mod stats;
pub(crate) mod streams;
mod supervise;
mod top;
mod update;

pub use attach::{Departure, DetachKeys};
pub use bld_network::{
    Endpoint, Mac, PortWish, Protocol, Published, Subnet, Subnet6, SubnetParseError,
};
pub use bld_sandbox::cgroup::weighs_io;
pub use bld_sandbox::{Resource, is_namespaced};
pub use commit::CommitRequest;
pub use control::Control;
pub use copy::CopyOptions;
pub use create::CreateRequest;
pub use exec::ExecRequest;
pub use find::ContainerFilter;
pub use health::{Health, HealthStatus, Probe};
pub use logs::{LogEntry, LogQuery};
pub use model::{
    Attachment, Container, DeviceMapping, HostConfig, IoKind, IoRate, Limits, LogDriver, Mount,
    MountSource, NetworkMode, Propagation, RestartCondition, RestartPolicy, Sharing, State, Status,
};
pub use place::{PlacedContent, PlacedFile};
pub use process::ProcessId;
pub use prune::Pruned;
pub use relay::Io;
pub use remove::RemoveOptions;
pub use spec::without_rights;
pub use stats::Usage;
pub use supervise::Exit;
pub use top::Processes;
pub use update::UpdateRequest;

use serde_json::Value;

use crate::{EngineError, Result};

/// A container as the store keeps it. Wishes that nobody uttered are left out: they are most of a
/// document, which is written at every change of state.
pub(crate) fn encode(container: &Container) -> Result<Value> {
    let mut document = serde_json::to_value(container)
        .map_err(|source| EngineError::ContainerDocument { id: container.id.clone(), source })?;
    if let Some(host) = document.get_mut("host") {
        omit_defaults(host);
    }
    Ok(document)
}

fn omit_defaults(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.values_mut().for_each(omit_defaults);
    fields.retain(|_, value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    });
}

/// A container from the store.
pub(crate) fn decode(stored: bld_store::Container) -> Result<Container> {
    let mut container: Container = serde_json::from_value(stored.state)
        .map_err(|source| EngineError::ContainerDocument { id: stored.id, source })?;
    // The store's own record is the one that renaming changes.
    container.name = stored.name;
    Ok(container)
}
