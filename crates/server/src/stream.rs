//! Events, as they happen: sent by the server, or through a WebSocket.
//!
//! Browsers open few connections to one host at a time, six, and each stream of server-sent events
//! takes one for as long as it lasts: with a few pages open, nothing else would get through. WebSockets
//! do not count there. Each of their messages is an array of events, as many as there were.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::ApiError;

/// How often something that changes is looked at.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);

/// Events that wait to be taken; whoever makes them waits for room.
const ROOM: usize = 256;

/// An event with a document.
#[derive(Debug)]
pub(crate) struct Told {
    name: &'static str,
    id: Option<u64>,
    data: String,
}

impl Told {
    /// The same with a number, from which on others can be asked for.
    pub(crate) fn id(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    fn sent(self) -> Event {
        // A line break would end the field: in JSON there is none.
        let event = Event::default().event(self.name).data(self.data);
        match self.id {
            Some(id) => event.id(id.to_string()),
            None => event,
        }
    }

    fn message(&self) -> String {
        let id = self.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
        format!(r#"{{"event":"{}","id":{id},"data":{}}}"#, self.name, self.data)
    }
}

/// An event with a document.
pub(crate) fn event(name: &'static str, document: &impl Serialize) -> Told {
    let data = serde_json::to_string(document).unwrap_or_else(|_| "null".to_owned());
    Told { name, id: None, data }
}

/// The event that says why there will be none.
pub(crate) fn failure(error: &ApiError) -> Told {
    event("failed", &error.document())
}

/// Where the events of one answer are put.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Sender<Told>);

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Outlet {
    /// Sends an event; waits until there is room for it.
    pub(crate) async fn send(&self, event: Told) -> Result<(), Gone> {
        self.0.send(event).await.map_err(|_| Gone)
    }

    /// As [`send`](Self::send), on a thread that may block.
    pub(crate) fn send_blocking(&self, event: Told) -> Result<(), Gone> {
        self.0.blocking_send(event).map_err(|_| Gone)
    }

    /// Ends when nobody listens any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Who asked for events, and how they are to come.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Option<WebSocketUpgrade>,
    /// The number of the last event that was heard before the connection broke.
    pub(crate) heard: Option<u64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Listener {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
        // Whoever opens a WebSocket cannot choose headers.
        let query = parts.uri.query().unwrap_or_default();
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
        let heard = header.or(after).and_then(|id| id.parse().ok());
        let socket = WebSocketUpgrade::from_request_parts(parts, state).await.ok();
        Ok(Self { socket, heard })
    }
}

impl Listener {
    /// An answer whose events come from `fill`, which is given up when nobody listens any more.
    pub(crate) fn answer<F>(self, fill: impl FnOnce(Outlet) -> F) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = channel(ROOM);
        tokio::spawn(fill(Outlet(sender)));
        if let Some(socket) = self.socket {
            return socket.on_upgrade(move |socket| forward(socket, receiver));
        }
        let next = |mut receiver: Receiver<Told>| async {
            receiver.recv().await.map(|told| (Ok::<_, Infallible>(told.sent()), receiver))
        };
        Sse::new(unfold(receiver, next))
            .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
            .into_response()
    }
}

/// Sends events until there are no more, or the other side goes.
async fn forward(mut socket: WebSocket, mut receiver: Receiver<Told>) {
    let mut events = Vec::new();
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut events, ROOM) => {
                if count == 0 {
                    let _gone = socket.send(Message::Close(None)).await;
                    return;
                }
                let all: Vec<_> = events.drain(..).map(|told| told.message()).collect();
                let text = format!("[{}]", all.join(","));
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}
