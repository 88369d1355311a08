//! Runs one process in a root filesystem, confined as Docker confines it. Knows nothing of images
//! or builds.

pub mod capabilities;
pub mod cgroup;
mod child;
mod error;
mod init;
mod launcher;
mod mounts;
mod plan;
mod process;
mod seccomp;
mod signal;
mod spawn;
mod spec;
mod sys;
mod user;

pub use capabilities::Capabilities;
pub use cgroup::{CgroupSpec, Limits};
pub use error::SandboxError;
pub use process::{ExitStatus, Handle, Process};
pub use signal::signal_number;
pub use spawn::spawn;
pub use spec::{Device, Mount, MountKind, Network, Resource, Rlimit, Root, Seccomp, Spec, Stdio};
pub use user::{Account, User, UserError, lookup_user};
