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

mod config;
mod error;
pub mod images;

use std::sync::OnceLock;

use bld_store::Store;

pub use config::{AuthFiles, EngineConfig};
pub use error::{EngineError, Result};

/// Images and containers of one store.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    store: OnceLock<Store>,
}

impl Engine {
    /// An engine for `config`. Nothing is touched until a verb needs it.
    pub fn open(config: EngineConfig) -> Self {
        Self { config, store: OnceLock::new() }
    }

    /// How the engine was opened.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The store, opened (and made) on first use.
    pub fn store(&self) -> Result<&Store> {
        match self.store.get() {
            Some(store) => Ok(store),
            None => {
                let store = Store::open(&self.config.root)?;
                Ok(self.store.get_or_init(|| store))
            }
        }
    }
}
