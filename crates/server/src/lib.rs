//! The page of `bld ui`, and the API it is made of: engine calls by HTTP, and the event streams of
//! builds as server-sent events.
//!
//! Everything below `/api/v1` is JSON and described by `/api/v1/openapi.json`. All else is the page,
//! a single one that reads the address it was opened by.
//!
//! Invariants:
//! - every reply is a face of an engine call or of an event journal; nothing is known here that
//!   `bld` cannot say in a terminal;
//! - nobody gets an answer without the token of this start, from another origin, or by another name of
//!   this machine than an address or `localhost` (see `guard`);
//! - a server that is read-only refuses every change before it looks at what it is;
//! - the engine blocks, so it is only ever called on threads that may (`App::call`).

mod app;
mod error;
mod guard;
mod json;
mod page;
mod routes;
mod stream;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use bld_engine::Engine;
use bld_event::Cancel;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use app::App;
pub use error::ServerError;

/// Threads that wait for the disk and for locks, at most; most of the time there are few.
const BLOCKING: usize = 32;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Refuse every change.
    pub read_only: bool,
    /// What the server calls its version.
    pub version: String,
}

/// Serves the page and the API until `stop` is asked for. `ready` is called with the address to open,
/// which lets in whoever has it.
///
/// # Errors
/// When the address cannot be listened on, or the runtime cannot be started.
pub fn serve(
    engine: Engine,
    options: &Options,
    ready: impl FnOnce(&str),
    stop: &Cancel,
) -> Result<(), ServerError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .map_err(ServerError::Runtime)?;
    let (stopping, stopped) = oneshot::channel();
    let _guard = stop.on_cancel(move || {
        let _ended_by_itself = stopping.send(());
    });
    // It may have a runtime of its own, which must not be dropped within this one.
    let engine = Arc::new(engine);
    let served = runtime.block_on(async {
        let listening = |source| ServerError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let app = Arc::new(App::new(Arc::clone(&engine), options, address)?);
        ready(&app.url());
        tokio::select! {
            served = axum::serve(listener, routes::all(&app)) => served.map_err(listening),
            // Streams have no end: they are cut.
            _ = stopped => Ok(()),
        }
    });
    // Calls that wait for others are not waited for.
    runtime.shutdown_background();
    served
}
