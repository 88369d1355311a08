//! The engine: everything that can be done with images and containers, as a library.
//!
//! One [`Engine`] stands for one store on disk. There is no daemon behind it: every process that
//! opens the same store sees the same images and containers, and the store keeps them from
//! treading on each other. A detached container is held by a small process of its own, its
//! [monitor](containers::monitor), which is the same program started again.
//!
//! Invariants:
//! - opening an engine does nothing; the store, a runtime, TLS and the network are set up when a
//!   verb first needs them;
//! - the engine never prints, prompts, exits or reads the environment: what happens is reported on
//!   [`bld_event::Events`], what went wrong is an [`EngineError`], what it needs to know is in its
//!   [`EngineConfig`];
//! - a container's root filesystem is mounted in the container's own mount namespace only, so that
//!   whatever dies, no mount is left behind.

pub mod attest;
pub mod build;
pub mod caches;
mod config;
pub mod containers;
pub mod disk;
pub mod doctor;
mod error;
pub mod events;
mod full;
pub mod history;
pub mod images;
pub mod imagetools;
pub mod login;
mod mend;
pub mod networks;
pub mod rootless;
mod rotated;
mod sbom;
pub mod share;
pub mod sign;
pub mod steps;
mod time;
mod tree;
mod trust;
pub mod volumes;
mod watch;

use std::sync::{Arc, OnceLock};

use bld_event::Cancel;
use bld_registry::Client;
use bld_registry::auth::CredentialFiles;
use bld_store::Store;
use nix::sys::signal::SigSet;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use error::IoContext as _;

pub use bld_registry::Pushed;
pub use config::EngineConfig;
pub use error::{EngineError, Result};
pub use full::{is_for_space, mount_of};

/// Images and containers of one store.
#[derive(Debug)]
pub struct Engine {
    store: Arc<OnceLock<Store>>,
    net: Arc<Net>,
    /// Ends what waits for the network.
    stop: Cancel,
}

/// What an engine needs to speak to others, made on first use.
#[derive(Debug)]
pub(crate) struct Net {
    config: EngineConfig,
    client: OnceLock<Client>,
    runtime: OnceLock<Runtime>,
    buckets: share::Buckets,
    services: share::Services,
}

impl Engine {
    /// An engine for `config`. Nothing is touched until a verb needs it.
    pub fn open(config: EngineConfig) -> Self {
        let net = Net {
            config,
            client: OnceLock::new(),
            runtime: OnceLock::new(),
            buckets: share::Buckets::default(),
            services: share::Services::default(),
        };
        Self { store: Arc::default(), net: Arc::new(net), stop: Cancel::new() }
    }

    /// The same engine, whose waits for the network end when `cancel` asks for it.
    pub(crate) fn stopped_by(&self, cancel: &Cancel) -> Self {
        let (store, net) = (Arc::clone(&self.store), Arc::clone(&self.net));
        Self { store, net, stop: cancel.clone() }
    }

    /// How the engine was opened.
    pub fn config(&self) -> &EngineConfig {
        &self.net.config
    }

    /// The store, opened (and made) on first use.
    pub fn store(&self) -> Result<&Store> {
        match self.store.get() {
            Some(store) => Ok(store),
            None => {
                let store = Store::open(&self.config().root)?;
                Ok(self.store.get_or_init(|| store))
            }
        }
    }

    /// What speaks to others.
    pub(crate) fn net(&self) -> &Arc<Net> {
        &self.net
    }

    /// The registry client, made on first use.
    pub(crate) fn client(&self) -> Result<&Client> {
        self.net.client()
    }

    /// Runs what waits for the network. Must not be called from within such work.
    ///
    /// # Errors
    /// [`EngineError::Canceled`] if it was not awaited to the end.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> Result<F::Output> {
        self.net.block_on(&self.stop, work)
    }
}

impl Net {
    /// The registry client.
    pub(crate) fn client(&self) -> Result<&Client> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => {
                let credentials = CredentialFiles::read(&self.config.auth_files)?;
                let config = bld_registry::Config {
                    credentials: Arc::new(credentials),
                    ..trust::registries(&self.config)?
                };
                let client = Client::new(config)?;
                Ok(self.client.get_or_init(|| client))
            }
        }
    }

    /// Runs what waits for the network until it is done or `stop` is asked for. Must not be called from
    /// within such work.
    pub(crate) fn block_on<F: Future>(&self, stop: &Cancel, work: F) -> Result<F::Output> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let made = Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    // Signals are for those who run us: a thread of ours must not be the one that
                    // gets them. It would be worse off without the mask, but not wrong.
                    .on_thread_start(|| {
                        let _kept = SigSet::all().thread_block();
                    })
                    .build()
                    .at("start", "the network runtime")?;
                self.runtime.get_or_init(|| made)
            }
        };
        let (stopping, stopped) = oneshot::channel();
        let _guard = stop.on_cancel(move || {
            let _nobody_waits = stopping.send(());
        });
        runtime.block_on(async {
            tokio::select! {
                biased;
                Ok(()) = stopped => Err(EngineError::Canceled),
                done = work => Ok(done),
            }
        })
    }
}
