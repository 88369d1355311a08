//! Server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::ApiError;

/// How often something that changes is looked at.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);

/// Events that wait to be taken; whoever makes them waits for room.
const ROOM: usize = 256;

/// Where the events of one answer are put.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Sender<Event>);

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Outlet {
    /// Sends a document; waits until there is room for it.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Gone> {
        self.0.send(event).await.map_err(|_| Gone)
    }

    /// As [`send`](Self::send), on a thread that may block.
    pub(crate) fn send_blocking(&self, event: Event) -> Result<(), Gone> {
        self.0.blocking_send(event).map_err(|_| Gone)
    }

    /// Ends when nobody listens any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// An event with a document.
pub(crate) fn event(name: &str, document: &impl Serialize) -> Event {
    // A line break would end the field: in JSON there is none.
    Event::default().event(name).data(serde_json::to_string(document).unwrap_or_default())
}

/// The event that says why there will be none.
pub(crate) fn failure(error: &ApiError) -> Event {
    event("failed", &error.document())
}

/// An answer whose events come from `fill`, which is given up when nobody listens any more.
pub(crate) fn stream<F>(
    fill: impl FnOnce(Outlet) -> F,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = channel(ROOM);
    tokio::spawn(fill(Outlet(sender)));
    let next = |mut receiver: Receiver<Event>| async {
        receiver.recv().await.map(|event| (Ok(event), receiver))
    };
    Sse::new(unfold(receiver, next)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
