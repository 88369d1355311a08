//! The behaviour of bld-layer, against the kernel and against the tools everybody has. One binary,
//! as it links in a fraction of the time of five. Needs root: it mounts, and makes devices.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod archive;
mod beginnings;
mod chunked;
mod common;
mod compress;
mod copy;
mod diff;
mod hostile;
mod sharing;
mod view;
