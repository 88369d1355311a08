//! Builds for real: as root, on a root filesystem made of a static busybox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cache;
mod edits;
mod failures;
mod lab;
mod mounts;
mod together;
mod traced;
