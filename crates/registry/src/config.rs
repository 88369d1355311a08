//! What a client is told about registries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Anonymous, Credentials};

/// Settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct Config {
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// Settings per registry, by its name as it stands in references: `docker.io`, `host:port`.
    pub registries: BTreeMap<String, RegistryConfig>,
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
            tls_verify: true,
            authorities: Vec::new(),
            concurrency: 4,
            chunk_size: 64 << 20,
            retry: Retry::default(),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("registries", &self.registries)
            .field("tls_verify", &self.tls_verify)
            .field("concurrency", &self.concurrency)
            .field("chunk_size", &self.chunk_size)
            .field("retry", &self.retry)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Registries that have the same content and are asked first, in this order, when pulling:
    /// `host[:port][/prefix]`. The prefix goes in front of the repository.
    pub mirrors: Vec<String>,
    /// Certificates are not verified, and plain HTTP is spoken when HTTPS is not answered.
    ///
    /// A registry on a loopback address needs no such permission: plain HTTP never leaves the
    /// machine there, and is tried first.
    pub insecure: bool,
    /// Certificate authorities to trust besides the system's, PEM.
    pub authorities: Vec<Vec<u8>>,
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
