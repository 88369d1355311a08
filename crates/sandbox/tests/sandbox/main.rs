//! Containers for real: as root, on a root filesystem made of a static busybox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::print_stdout,
    reason = "tests that run themselves elsewhere print what they find"
)]
#![expect(clippy::disallowed_methods, reason = "and are told so by the environment")]

mod basics;
mod cgroups;
mod common;
mod exec;
mod isolation;
mod lifetime;
mod mounts;
mod programs;
mod stubs;
mod syscalls;
mod terminal;
mod trace;
