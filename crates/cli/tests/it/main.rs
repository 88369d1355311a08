//! The whole program, as its users see it. Needs root, and the tools `cargo xtask test` installs.

#![expect(clippy::unwrap_used, reason = "tests")]

mod actions;
mod archives;
mod attach;
mod attestations;
mod build;
mod buildkit;
mod cache;
mod cache_mounts;
mod call;
mod came;
mod compose;
mod containers;
mod context;
mod cp;
mod crash;
mod damage;
mod debug;
mod diff;
mod disk;
mod errors;
mod events;
mod explain;
mod flags;
mod formats;
mod gallery;
mod health;
mod history;
mod imagetools;
mod inside;
mod interop;
mod intruder;
mod isolation;
mod lifecycle;
mod login;
mod logs;
mod manifests;
mod matrix;
mod minute;
mod mirrors;
mod moving;
mod network;
mod networks;
mod output;
mod peer;
mod places;
mod platforms;
mod policy;
mod registries_conf;
mod remote;
mod reproducible;
mod rootless;
mod runtimes;
mod sbom;
mod schemas;
mod scripts;
mod shapes;
mod share;
mod shop;
mod signatures;
mod system;
mod together;
mod trees;
mod trust;
mod tutorial;
mod ui;
mod update;
mod words;

use bld_testkit::{Cmd, PODMAN_LIMITS, TestEnv, peer};

const BLD: &str = env!("CARGO_BIN_EXE_bld");

/// An environment with a busybox in its store.
fn env() -> TestEnv {
    TestEnv::with_busybox(BLD)
}

/// podman with a store of its own.
fn podman_command(env: &TestEnv) -> std::process::Command {
    let mut command = peer("podman");
    let place = env.path("podman");
    command.arg("--root").arg(place.join("root")).arg("--runroot").arg(place.join("run"));
    command
}

/// Runs an image with podman.
fn podman(env: &TestEnv, image: &str) -> String {
    let mut command = podman_command(env);
    command.args(["run", "--rm", "--network", "none", "--tls-verify=false"]);
    command.args(PODMAN_LIMITS).arg(image);
    Cmd::from(command).ok().stdout
}
