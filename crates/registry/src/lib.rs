//! A client for registries: the [OCI distribution specification][spec] 1.1, and what the
//! registries in use expect beyond it.
//!
//! A [`Client`] finds out how a registry is spoken to when it is first used, and remembers it.
//! [`Client::pull_image`] moves an image into a [store](bld_store::Store), [`Client::push_image`]
//! moves one out of it; the parts they are made of are public too.
//!
//! Invariants:
//! - No byte enters the store unverified, and what turns out wrong leaves nothing behind.
//! - Every wait has an end, every retry a pause and a limit.
//! - A mirror gets the credentials that are known for its own name, never those of the registry whose
//!   content it has.
//! - A password or token is sent to the host it is meant for and over a connection it may travel:
//!   redirects, upload locations and token servers elsewhere do not get it.
//! - Plain HTTP is spoken to loopback addresses and where a setting allows it, nowhere else.
//!
//! The crate reads no configuration of its own: files with credentials are named by the caller, see
//! [`auth`]. Only proxies are taken from the environment, by the HTTP library.
//!
//! [spec]: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

mod ahead;
pub mod auth;
mod blob;
mod client;
mod config;
mod copy;
mod endpoint;
mod error;
mod manifest;
mod progress;
mod pull;
mod push;
mod referrers;
mod repository;
mod retry;
mod rules;
mod sink;
mod sync;
mod tags;
mod tap;
mod upload;

pub use bld_http::{Identity, Url, header};
pub use client::Client;
pub use config::{ALL_OTHERS, Config, Mirror, RegistryConfig, Retry};
pub use error::{ErrorEntry, ErrorList, Refusal, RegistryError};
pub use manifest::Manifest;
pub use progress::{Item, Reporter};
pub use pull::PulledImage;
pub use push::Pushed;
pub use rules::{Rule, RuleMirror};
pub use sink::Sink;
pub use tap::{Arriving, Tap, tap};
