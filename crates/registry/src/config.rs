//! What a client is told about registries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bld_http::header::HeaderMap;
use bld_http::{Identity, Url};

use crate::auth::{Anonymous, Credentials};
use crate::rules::Rule;

/// Settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct Config {
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// Settings per registry, by its name as it stands in references: `docker.io`, `host:port`; those
    /// for all that have none are called [`ALL_OTHERS`].
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Rules for parts of registries. Settings of a registry that say where it is or which mirrors it has
    /// count before them.
    pub rules: Vec<Rule>,
    /// Whether certificates are verified and plain HTTP is refused. `false` makes every registry
    /// [`insecure`](RegistryConfig::insecure).
    pub tls_verify: bool,
    /// Certificate authorities to trust besides the system's, PEM, for every registry.
    pub authorities: Vec<Vec<u8>>,
    /// Blobs that are on their way at the same time.
    pub concurrency: usize,
    /// Blobs larger than this, in bytes, are sent in pieces of this size, so that a broken
    /// connection costs one piece.
    pub chunk_size: u64,
    /// Blobs of several times this many bytes are received in pieces of this size, some of them at the
    /// same time, because many servers give one connection no more than a share of what they have.
    pub piece_size: u64,
    /// How often and how fast a request is tried again.
    pub retry: Retry,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
}

impl Default for Config {
    /// No credentials, certificates verified, four blobs at once.
    fn default() -> Self {
        Self {
            credentials: Arc::new(Anonymous),
            registries: BTreeMap::new(),
            rules: Vec::new(),
            tls_verify: true,
            authorities: Vec::new(),
            concurrency: 4,
            chunk_size: 64 << 20,
            piece_size: 4 << 20,
            retry: Retry::default(),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("registries", &self.registries)
            .field("rules", &self.rules)
            .field("tls_verify", &self.tls_verify)
            .field("concurrency", &self.concurrency)
            .field("chunk_size", &self.chunk_size)
            .field("piece_size", &self.piece_size)
            .field("retry", &self.retry)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The settings of the registry called `registry`.
    pub(crate) fn of(&self, registry: &str) -> Option<&RegistryConfig> {
        self.registries.get(registry).or_else(|| self.registries.get(ALL_OTHERS))
    }
}

/// The name of settings that count for registries without any.
pub const ALL_OTHERS: &str = "_default";

/// Settings of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Registries that have the same content and are asked first, in this order, when pulling.
    pub mirrors: Vec<Mirror>,
    /// The root of its API, with a slash at its end (`https://host/v2/`), if it is not what its name
    /// says. Credentials are then those of that host.
    pub server: Option<Url>,
    /// Certificates are not verified, and plain HTTP is spoken when HTTPS is not answered.
    ///
    /// A registry on a loopback address needs no such permission: plain HTTP never leaves the
    /// machine there, and is tried first.
    pub insecure: bool,
    /// Certificate authorities to trust besides the system's, PEM.
    pub authorities: Vec<Vec<u8>>,
    /// The certificate that it gets to see.
    pub identity: Option<Identity>,
    /// Sent along with each request to it. Redirects elsewhere do not get them if they are marked as
    /// sensitive.
    pub headers: HeaderMap,
    /// Why these settings cannot be used. Whoever needs them gets to hear it.
    pub fault: Option<String>,
}

/// A registry that has the content of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `host[:port][/prefix]`. The prefix goes in front of the repository.
    pub name: String,
    /// Whether it knows what the tags name.
    pub resolves: bool,
    /// Whether it has what is asked for by digest.
    pub pulls: bool,
    /// How it is spoken to. None: as its own name has it.
    pub settings: Option<Box<RegistryConfig>>,
}

impl Mirror {
    /// The registry called `name`, for everything.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), resolves: true, pulls: true, settings: None }
    }
}

/// How often and how fast a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; at least one is made.
    pub attempts: u32,
    /// Pause after the first failure; doubled after each further one.
    pub pause: Duration,
    /// The longest pause. A registry that asks for more is not waited for.
    pub longest: Duration,
}

impl Default for Retry {
    /// Six attempts within about eight seconds.
    fn default() -> Self {
        Self { attempts: 6, pause: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}
