//! The addresses of the API.

mod builds;
mod changes;
mod containers;
mod images;
mod machine;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::{guard, page};

/// What handlers get.
type Shared = State<Arc<App>>;

/// The document that answers a request.
type Answer = Result<Json<Value>, ApiError>;

/// Everything that is served.
pub(crate) fn all(app: &Arc<App>) -> Router {
    let api = Router::new()
        .route("/", get(about))
        .route("/events", get(changes::follow))
        .merge(builds::routes())
        .merge(images::routes())
        .merge(containers::routes())
        .merge(machine::routes())
        .fallback(|| async { ApiError::not_found("address") })
        .method_not_allowed_fallback(|| async { ApiError::not_found("way to ask that") });
    Router::new()
        .nest("/api/v1", api)
        .route("/api", get(machine::listing))
        .route("/api/{*rest}", get(|| async { ApiError::not_found("address") }))
        .fallback(get(page::serve))
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
        .with_state(Arc::clone(app))
}

async fn about(State(app): Shared) -> Json<Value> {
    Json(json!({
        "version": app.version,
        "readOnly": app.read_only,
        "root": app.engine.config().root,
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
    }))
}
