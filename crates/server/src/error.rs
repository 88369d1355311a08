//! What goes wrong, and how it is told.

use std::io;
use std::net::SocketAddr;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bld_engine::EngineError;
use serde_json::{Value, json};
use thiserror::Error;

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No runtime could be started.
    #[error("start the server")]
    Runtime(#[source] io::Error),
    /// The kernel gave no random bytes for the token.
    #[error("make a token")]
    Token(#[source] io::Error),
}

/// A request that cannot be answered.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }

    pub(crate) fn read_only() -> Self {
        let message = "this page only shows: it was started with --read-only";
        Self::new(StatusCode::FORBIDDEN, "read_only", message)
    }
}

impl ApiError {
    /// What is told of it.
    pub(crate) fn document(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.document())).into_response()
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        use EngineError as E;
        let (status, code) = match &error {
            E::NoSuchImage { .. }
            | E::NoSuchContainer { .. }
            | E::NoSuchNetwork { .. }
            | E::NoSuchVolume { .. }
            | E::NoSuchBuild { .. }
            | E::NoSuchStep { .. }
            | E::NoSuchCache { .. }
            | E::NoSuchFile { .. } => (StatusCode::NOT_FOUND, "not_found"),
            E::AmbiguousImage { .. }
            | E::AmbiguousContainer { .. }
            | E::AmbiguousNetwork { .. }
            | E::AmbiguousBuild { .. }
            | E::Reference { .. }
            | E::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            E::ImageInUse(_)
            | E::RemoveRunning { .. }
            | E::AlreadyRunning { .. }
            | E::NotRunning { .. }
            | E::Paused { .. }
            | E::NotPaused { .. }
            | E::NetworkInUse { .. }
            | E::VolumeInUse { .. }
            | E::RemovePredefinedNetwork { .. }
            | E::NoLog { .. } => (StatusCode::CONFLICT, "conflict"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, code, whole(&error))
    }
}

/// An error and what caused it, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
