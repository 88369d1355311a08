//! The whole program, as its users see it. Needs root, and the tools `cargo xtask test` installs.

#![expect(clippy::unwrap_used, reason = "tests")]

mod attestations;
mod build;
mod cache;
mod cache_mounts;
mod call;
mod containers;
mod context;
mod crash;
mod damage;
mod debug;
mod diff;
mod disk;
mod errors;
mod explain;
mod flags;
mod formats;
mod gallery;
mod history;
mod inside;
mod interop;
mod lifecycle;
mod moving;
mod network;
mod output;
mod platforms;
mod policy;
mod remote;
mod reproducible;
mod sbom;
mod schemas;
mod scripts;
mod shapes;
mod share;
mod signatures;
mod together;
mod trees;
mod trust;
mod words;

use bld_testkit::TestEnv;

const BLD: &str = env!("CARGO_BIN_EXE_bld");

/// An environment with a busybox in its store.
fn env() -> TestEnv {
    TestEnv::with_busybox(BLD)
}
