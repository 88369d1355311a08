//! What changes in the store.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::Shared;
use crate::stream::{Listener, MOMENT, event};

/// Says, as long as somebody listens, what lists have changed.
pub(super) async fn follow(State(app): Shared, listener: Listener) -> Response {
    listener.answer(async move |out| {
        let look = || {
            let watch = app.watch.clone();
            async { tokio::task::spawn_blocking(move || watch.look()).await.ok() }
        };
        let Some(mut before) = look().await else { return };
        loop {
            tokio::select! {
                () = out.closed() => return,
                () = tokio::time::sleep(MOMENT) => {}
            }
            let Some(now) = look().await else { return };
            for kind in now.changes(&before) {
                if out.send(event(kind, &json!({}))).await.is_err() {
                    return;
                }
            }
            before = now;
        }
    })
}
