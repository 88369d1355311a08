//! Behaviour of the store, on real file systems. One program, so that it links once.

#![expect(clippy::unwrap_used, reason = "tests may panic")]
#![expect(clippy::print_stdout, reason = "measurements, shown with --nocapture")]
#![expect(clippy::disallowed_methods, reason = "tests start programs, this one among them")]

mod blobs;
mod cache_mounts;
mod check;
mod containers;
mod crash;
mod disk;
mod disk_full;
mod epoch;
mod gc;
mod images;
mod journals;
mod listings;
mod locks;
mod many;
mod merged;
mod opening;
mod records;
mod snapshots;
mod stat_cache;
mod steps;
mod support;
mod write_out;
