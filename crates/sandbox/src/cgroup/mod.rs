//! Control groups: limits, accounting, and a handle on everything a container runs. See cgroups(7).
//!
//! Three set-ups exist and all work: *unified* (v2 alone), *legacy* (v1 alone), and *hybrid* (v1
//! with the controllers, v2 beside it without any). Wherever v2 is mounted, every container gets a
//! group in it: a process can be born in it (`CLONE_INTO_CGROUP`), it is killed and frozen as one,
//! and device access is controlled there. v1 groups are added only for what is asked of them. An
//! ordinary user has groups in those hierarchies only that were handed to him ("delegated").
//!
//! A group is named `NAME@PID.STARTTIME` after the process that made it, so that [`sweep()`] can
//! tell leftovers of a killed process from groups in use, without any record elsewhere.

mod devices;
mod file;
mod group;
mod hierarchy;
mod io;
mod sweep;
mod v1;
mod v2;

pub(crate) use devices::{DeviceKind, DeviceRule, MKNOD, READ, WRITE};
pub(crate) use hierarchy::Hierarchies;

pub use group::Cgroup;
pub use io::{IoKind, IoRate, weighs_io};
pub use sweep::{path_for, sweep};

use std::path::PathBuf;

use crate::ids::Ids;

/// Microseconds in a period of processor time unless told otherwise.
const DEFAULT_PERIOD: u64 = 100_000;

/// A control group for one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CgroupSpec {
    /// Its name; must be unique among running containers.
    pub name: String,
    /// Group to make it in, from the root of the hierarchy; none: see [`Cgroup::create`].
    pub parent: Option<String>,
    /// Group that it is a part of, wherever that is: what limits that limits both. Comes before
    /// `parent`.
    pub within: Option<Cgroup>,
    /// What it limits.
    pub limits: Limits,
    /// Count memory, processes and block device traffic even where nothing limits them, for
    /// [`Cgroup::stats`]. Processor time is always counted.
    pub accounting: bool,
}

/// Limits of a control group. Absent ones are not set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes, as Docker's `--memory-swap`; -1: no limit of swap.
    pub memory_swap: Option<i64>,
    /// Memory that is kept for the group under pressure, in bytes.
    pub memory_reservation: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<u64>,
    /// Length of a period in microseconds; none: 100 ms.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262144, 1024 is ordinary.
    pub cpu_shares: Option<u64>,
    /// Processors that may be used, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Relative weight at block devices, 10 to 1000, where the kernel has such weights.
    pub io_weight: Option<u16>,
    /// What block devices give at most.
    pub io_rates: Vec<IoRate>,
}

impl Limits {
    fn wants_memory(&self) -> bool {
        self.memory.is_some() || self.memory_swap.is_some() || self.memory_reservation.is_some()
    }

    fn wants_cpu(&self) -> bool {
        self.cpu_quota.is_some() || self.cpu_period.is_some() || self.cpu_shares.is_some()
    }

    fn wants_cpuset(&self) -> bool {
        self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()
    }

    fn wants_io(&self) -> bool {
        self.io_weight.is_some() || !self.io_rates.is_empty()
    }

    /// What of it this process may limit, and the names of the rest. Root may limit all of it: what is
    /// missing then is an error of [`Cgroup::create`].
    pub fn within_rights(mut self) -> (Self, Vec<&'static str>) {
        if Ids::own().are_all() {
            return (self, Vec::new());
        }
        let can = |controller| Hierarchies::usable().is_ok_and(|all| all.has(controller));
        let mut left_out = Vec::new();
        if self.wants_memory() && !can("memory") {
            (self.memory, self.memory_swap, self.memory_reservation) = (None, None, None);
            left_out.push("memory limit capabilities");
        }
        if self.pids.is_some() && !can("pids") {
            self.pids = None;
            left_out.push("pids limit capabilities");
        }
        if self.wants_cpu() && !can("cpu") {
            (self.cpu_quota, self.cpu_period, self.cpu_shares) = (None, None, None);
            left_out.push("CPU CFS scheduler");
        }
        if self.wants_cpuset() && !can("cpuset") {
            (self.cpuset_cpus, self.cpuset_mems) = (None, None);
            left_out.push("cpuset");
        }
        if self.wants_io() && !(can("blkio") || can("io")) {
            (self.io_weight, self.io_rates) = (None, Vec::new());
            left_out.push("Block I/O limits");
        }
        (self, left_out)
    }

    /// Docker's `--cpus`: so many processors' worth of time.
    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        let period = self.cpu_period.unwrap_or(DEFAULT_PERIOD);
        self.cpu_quota = Some((cpus * period as f64) as u64);
        self
    }
}

/// What a control group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time in microseconds.
    pub cpu_usec: u64,
    /// Memory in bytes, without page cache that can be dropped at once.
    pub memory: u64,
    /// Limit of memory in bytes; none: no limit.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub io_read: u64,
    /// Bytes written to block devices.
    pub io_written: u64,
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
}

/// Why a control group could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// No hierarchy is mounted that could do it.
    #[error("limit {what}: no cgroup hierarchy for it is mounted")]
    Unsupported {
        /// What was to be limited.
        what: String,
    },
    /// The name cannot be that of a group.
    #[error("use {0:?} as the name of a cgroup")]
    Name(String),
    /// What is to be limited is no block device.
    #[error("limit {0:?}: it is not a block device")]
    NoBlockDevice(PathBuf),
    /// The kernel refused.
    #[error("{action} cgroup {path:?}")]
    Io {
        /// What was attempted, as a verb phrase.
        action: String,
        /// The group or its file.
        path: PathBuf,
        /// The kernel's reason.
        source: std::io::Error,
    },
}
