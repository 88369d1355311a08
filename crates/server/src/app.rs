//! What all requests have in common.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bld_engine::Engine;
use bld_engine::images::ImageAnatomy;

use crate::Options;
use crate::error::{ApiError, ServerError};
use crate::guard::Guard;
use crate::watch::Watch;

/// One start of the server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) guard: Guard,
    pub(crate) watch: Watch,
    /// The image that was taken apart last.
    pub(crate) anatomy: Arc<Mutex<Option<Arc<ImageAnatomy>>>>,
    pub(crate) read_only: bool,
    pub(crate) version: String,
    address: SocketAddr,
}

impl App {
    pub(crate) fn new(
        engine: Arc<Engine>,
        options: &Options,
        address: SocketAddr,
    ) -> Result<Self, ServerError> {
        Ok(Self {
            guard: Guard::new(address)?,
            watch: Watch::new(&engine.config().root),
            anatomy: Arc::default(),
            read_only: options.read_only,
            version: options.version.clone(),
            engine,
            address,
        })
    }

    /// What to open: the page, with the token.
    pub(crate) fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                [0, 0, 0, 0, 0, 0, 0, 1].into()
            });
        }
        format!("http://{address}/?token={}", self.guard.token())
    }

    /// Calls the engine where it may block.
    pub(crate) async fn call<T, E>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        E: Into<ApiError> + Send + 'static,
    {
        let engine = Arc::clone(&self.engine);
        match tokio::task::spawn_blocking(move || work(&engine)).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(ApiError::failed("the server is ending")),
        }
    }
}
