//! What tests of the whole program need: an isolated store and home, a registry, base images, and
//! eyes for what is left behind.
//!
//! Nothing in here uses bld's own code to make or to judge images (apart from computing digests):
//! a mistake shared by writer and reader would go unseen.
//!
//! - [`TestEnv`]: runs `bld` with its own root and home, in a directory of its own.
//! - [`Registry`]: an empty registry on loopback.
//! - [`S3Server`]: a server of S3 on loopback.
//! - [`ActionsCache`]: a cache service of GitHub Actions, with its storage.
//! - [`WebServer`], [`GitDaemon`], [`SshServer`]: where files are brought from.
//! - [`http`]: a server that answers as told, or stands in front of a registry and spoils its answers.
//! - [`TokenServer`], [`Authority`]: who lets in to a registry, and who vouches for it.
//! - [`rootfs`]: file system archives of a busybox and of a Debian.
//! - [`Archive`], [`write_archive`]: read and write images as OCI archives.
//! - [`Tarball`]: archives of what no shell can make.
//! - [`read_tree`]: everything about the files below a directory.
//! - [`Docker`]: the real docker, with a daemon of its own.
//! - [`BuildKit`]: the real BuildKit, with a daemon of its own.
//! - [`peer`]: other container tools.
//! - [`User`]: who is not root.
//! - [`Terminal`]: a program on a terminal.
//! - [`HostState`]: mounts, links, control groups and processes, before and after.

#![expect(clippy::expect_used, reason = "a test helper that fails is a failed test")]

mod actions;
mod archive;
mod buildkit;
mod command;
mod docker;
mod env;
mod host;
pub mod http;
mod listener;
mod peers;
mod registry;
pub mod rootfs;
mod s3;
mod servers;
mod tarball;
mod terminal;
mod tls;
mod tokens;
mod tree;
mod user;

pub use actions::ActionsCache;
pub use archive::{Archive, Entry, Kind, write_archive, write_archives};
pub use buildkit::BuildKit;
pub use command::{Cmd, Output};
pub use docker::Docker;
pub use env::TestEnv;
pub use host::HostState;
pub use peers::{PODMAN_LIMITS, PeerHouse, peer};
pub use registry::Registry;
pub use s3::S3Server;
pub use servers::{GitDaemon, Repository, SshAgent, SshServer, WebServer};
pub use tar::EntryType;
pub use tarball::{TarEntry, Tarball};
pub use terminal::Terminal;
pub use tls::Authority;
pub use tokens::TokenServer;
pub use tree::{Tree, TreeEntry, read_tree, tree_differences};
pub use user::User;
