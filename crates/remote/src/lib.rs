//! Files from elsewhere: downloads and git checkouts, as snapshots of a store.
//!
//! Both come in two steps. *Resolving* finds out what a name leads to now: the digest of a
//! download, the commit of a reference. It is cheap where nothing changed: a conditional request, or
//! one look at the remote's references. *Bringing* makes a snapshot of exactly that. So the key of
//! what is made of it names content, and a build in which nothing changed brings nothing.
//!
//! Invariants:
//! - what was resolved is what is brought, or it is an error: nothing that arrives is trusted before
//!   it is compared with its digest or commit;
//! - secrets go to the host they are meant for, and into no message, note, snapshot or argument;
//! - a snapshot of a checkout depends on the commit only: modes are 0644 and 0755, times are the
//!   commit's;
//! - git runs without the configuration, hooks and helpers of whoever runs us.

mod auth;
mod error;
mod git;
mod http;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use bld_event::Cancel;
use bld_store::{Lease, Store};

pub use error::{RemoteError, Result};
pub use git::Checkout;
pub use http::Progress;

/// What is needed to reach others.
#[derive(Clone, Default)]
pub struct Access {
    /// Values of secrets by id. Those with the names that BuildKit gives them are used:
    /// `HTTP_AUTH_TOKEN_<host>`, `HTTP_AUTH_HEADER_<host>`, `GIT_AUTH_TOKEN[.<host>]` and
    /// `GIT_AUTH_HEADER[.<host>]`.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Socket of the SSH agent that git may use.
    pub ssh_agent: Option<PathBuf>,
    /// Files with the keys of hosts that are known, in the form of ssh's `known_hosts`. A host that
    /// is in none of them is believed.
    pub known_hosts: Vec<PathBuf>,
    /// Environment of git: the search path and proxies.
    pub environment: Vec<(OsString, OsString)>,
}

/// Brings files from elsewhere into a store. Clones share everything.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    store: Store,
    /// Keeps what was brought for as long as it may be asked for.
    lease: Lease,
    access: Access,
    cancel: Cancel,
}

impl Remote {
    /// Nothing is connected to yet.
    pub fn new(store: Store, access: Access, cancel: Cancel) -> Self {
        Self(Arc::new(Inner { lease: store.lease(), store, access, cancel }))
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn access(&self) -> &Access {
        &self.0.access
    }

    fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("store", self.store()).finish_non_exhaustive()
    }
}
