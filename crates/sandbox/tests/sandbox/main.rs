//! Containers for real: as root, on a root filesystem made of a static busybox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod basics;
mod cgroups;
mod common;
mod isolation;
mod lifetime;
mod mounts;
mod programs;
mod stubs;
mod syscalls;
mod terminal;
