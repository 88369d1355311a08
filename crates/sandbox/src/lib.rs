//! Runs a process in a root filesystem, confined as Docker confines it.
//!
//! [`spawn()`] takes a [`Spec`], which is plain data, and gives a [`Process`]. It knows nothing of
//! images, builds or registries, reads no configuration, and prints nothing.
//!
//! # How a container starts
//!
//! ```text
//! caller          spawn     checks the request, makes the control group
//!                 mounts    makes every mount, attached nowhere, and every mount point
//!                 plan      turns the rest into C strings, descriptors and a system call filter
//! launcher        clone3    CLONE_VM | CLONE_VFORK | new namespaces, born in its control group
//!   child         mounts    attaches the mounts, pivot_root
//!                 restrict  limits, bounding set, groups, filter, user, capabilities
//!                 exec      streams, descriptors, working directory, execve
//! caller          process   waits, then takes away control group and mount points
//! ```
//!
//! Two decisions shape it:
//!
//! **The child shares the caller's memory.** A build has read hundreds of megabytes when it starts a
//! process; copying the page tables for a fork takes 12 ms per 200 MB and stops every other thread
//! at its next page fault, while sharing them takes no time at any size. The price is that the
//! child may do nothing but system calls, so everything else is done before; and since errors are
//! best explained where memory can be allocated, that is where most of them happen.
//!
//! **Mounts are made before the container exists.** With the file descriptor based mount calls a
//! filesystem can be set up, and its files opened and created, before it is attached to any
//! namespace. So mount points are resolved in ordinary code, by descriptor; the child moves mounts
//! from descriptor to descriptor and hardly sees a path; the host never sees a mount; and there is
//! nothing to unmount, whoever is killed when.
//!
//! # What holds
//!
//! - No descriptor, mount, key or terminal of the host is reachable from inside.
//! - No path of an image or a volume leads out, however it changes meanwhile.
//! - The upper directory receives what the process changes and nothing else.
//! - A container never outlives a caller that asked for that, and a dead caller's groups are found
//!   by [`cgroup::sweep`].
//! - Devices are out of reach unless given, by control group or by `nodev`; a `Spec` without a
//!   [`CgroupSpec`] gets the latter, where even harmless nodes made with mknod(2) do not work.
//!
//! # What it needs
//!
//! Linux 5.12 (mount_setattr(2)); 6.7 for more layers than fit 255 characters. A root directory of
//! the caller's that is a mount's root, for pivot_root(2): not a chroot(2). Root, be it in a user
//! namespace ([`user_namespace`]), which whoever calls enters before any thread starts. There,
//! devices are mounted instead of made, what belongs to the host is shown instead of mounted anew, and
//! control groups are used as far as they are the user's.
//!
//! # Modules
//!
//! - [`capabilities`], [`cgroup`]: sets of capabilities; control groups of v1 and v2.
//! - [`user_namespace`], `ids`: an ordinary user as root, and who exists there.
//! - `spec`, `user`, `signal`, `error`: what callers say and hear.
//! - `spawn`, `exec`: a new container; a process in one that runs. `command`, `explain`: the way
//!   from words to execve(2) and from error numbers to words.
//! - `stage`: what containers need that another runtime makes.
//! - `mounts`: the filesystem. `trace`: what is read of it. `seccomp`: the filter. `init`: the tiny
//!   init.
//! - [`memory`]: that of a process that waits for a container.
//! - `plan`, `launcher`, `child`, `sys`: what is prepared, where children are made, what they do,
//!   and system calls without a safe wrapper.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

pub mod capabilities;
pub mod cgroup;
mod child;
mod command;
mod error;
mod exec;
mod explain;
mod ids;
mod init;
mod launcher;
pub mod memory;
mod mounts;
mod plan;
mod process;
mod seccomp;
mod signal;
mod spawn;
mod spec;
mod stage;
mod sys;
mod trace;
mod user;
pub mod user_namespace;

pub use capabilities::Capabilities;
pub use cgroup::{CgroupSpec, Limits};
pub use error::SandboxError;
pub use exec::{ExecSpec, exec_in};
pub use ids::{Ids, Shift};
pub use mounts::hidden_paths;
pub use process::{ExitStatus, Handle, Process};
pub use seccomp::{Action, Compare, Condition, Profile, Rule, Verdict, default_rules};
pub use signal::signal_number;
pub use spawn::{is_namespaced, spawn};
pub use spec::{
    Device, Mount, MountKind, Namespace, Network, Propagation, Resource, Rlimit, Root, Seccomp,
    Spec, Stdio,
};
pub use stage::{on_stage, show_below, take_orphans};
pub use trace::{Reads, Seen, Traced};
pub use user::{Account, User, UserError, lookup_user};
