//! Runs one process in a root filesystem, confined as Docker confines it. Knows nothing of images
//! or builds.

pub mod capabilities;
pub mod cgroup;
mod error;
mod process;
mod seccomp;
mod signal;
mod spec;
mod sys;
mod user;

pub use capabilities::Capabilities;
pub use cgroup::{CgroupSpec, Limits};
pub use error::SandboxError;
pub use process::{ExitStatus, Handle, Process, spawn};
pub use signal::signal_number;
pub use spec::{Device, Mount, MountKind, Network, Resource, Rlimit, Root, Seccomp, Spec, Stdio};
pub use user::{Account, User, UserError, lookup_user};
