//! The one typed stream that every long operation reports on.
//!
//! A build, a pull, a push or a run says what it does by emitting [`Event`]s into an [`Events`]
//! sink. Terminal view, plain and rawjson output, build history and remote APIs are readers of
//! that stream and of nothing else, so they can never disagree.
//!
//! The sink is a plain callback instead of a channel: the emitter needs no runtime, the reader
//! chooses its own queue, and a reader that is slow can apply its own policy. A callback is called
//! from many threads at once and must return quickly.
//!
//! Invariants:
//! - a vertex is [`EventKind::Planned`] before anything else is said of it;
//! - it ends in exactly one of `Cached`, `Done`, `Failed` or `Canceled`;
//! - log data is passed on byte for byte, in order per stream, and is never clipped.

mod cancel;
mod document;
mod reason;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use cancel::{Cancel, CancelGuard};
pub use reason::{Hit, Miss, MissKind};

/// Names one unit of work within one event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VertexId(u64);

impl VertexId {
    /// A fresh id, unique in this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number behind the id.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One unit of work as a reader shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// Id that later events refer to.
    pub id: VertexId,
    /// What the user sees, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// Build stage the step belongs to; empty for work outside a stage.
    pub stage: String,
    /// The vertices whose results this one consumes.
    pub inputs: Vec<VertexId>,
    /// First and last line (1-based) of the instruction in the Dockerfile.
    pub lines: Option<(u32, u32)>,
    /// Work that supports a build rather than being a step of it (loading files, exporting).
    pub internal: bool,
    /// The id by which the result can be asked for later, hexadecimal; none if there is none.
    pub result: Option<String>,
}

/// Which output of a process a piece of log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far one named piece of work within a vertex is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being worked on, e.g. `sha256:3f4a…` or `exporting layers`.
    pub item: String,
    /// Units done so far, bytes unless the item says otherwise.
    pub current: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
    /// Whether the item is finished.
    pub done: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The vertex exists and waits for its inputs.
    Planned(Vertex),
    /// Work has begun.
    Started,
    /// A named piece of the work moved on.
    Progress(Progress),
    /// The process of the step wrote this.
    Log {
        /// The stream it was written to.
        stream: Stream,
        /// The bytes, as written; in a document, text where they are.
        #[serde(with = "document::text")]
        data: Vec<u8>,
    },
    /// The result was known; nothing ran.
    Cached(Hit),
    /// The result was not known.
    Missed(Miss),
    /// The work is complete.
    Done,
    /// The work failed.
    Failed {
        /// The error in one line.
        error: String,
    },
    /// The work was given up because something else failed or the user asked.
    Canceled,
    /// What is going on, where nothing else tells: that the work waits, and for what.
    Note {
        /// The text.
        message: String,
    },
    /// The instructions that are followed, as they were read.
    Dockerfile {
        /// What it is called.
        name: String,
        /// The whole text, but for passwords and tokens in URLs.
        text: String,
    },
    /// Something the user should know that stops nothing.
    Warning {
        /// The text.
        message: String,
        /// A page that says more.
        url: Option<String>,
    },
}

/// One entry of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was emitted; in a document, in nanoseconds since 1970.
    #[serde(with = "document::nanoseconds")]
    pub at: SystemTime,
    /// The vertex it is about.
    pub id: VertexId,
    /// What happened.
    pub kind: EventKind,
}

type Reader = dyn Fn(Event) + Send + Sync;

/// The sink that events are emitted into. Cloning is cheap; all clones feed the same reader.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Reader>>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Events(reader)" } else { "Events(none)" })
    }
}

impl Events {
    /// A sink that hands every event to `reader`.
    pub fn new(reader: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(reader)))
    }

    /// A sink that nobody reads.
    pub fn none() -> Self {
        Self(None)
    }

    /// Emits one event about `id`, stamped with the current time.
    pub fn emit(&self, id: VertexId, kind: EventKind) {
        if let Some(reader) = &self.0 {
            reader(Event { at: SystemTime::now(), id, kind });
        }
    }

    /// Hands on an event that was emitted elsewhere.
    pub fn pass(&self, event: Event) {
        if let Some(reader) = &self.0 {
            reader(event);
        }
    }

    /// Plans and starts a supporting vertex; the caller ends it through the returned handle.
    pub fn task(&self, name: impl Into<String>) -> Task {
        let id = VertexId::next();
        self.emit(
            id,
            EventKind::Planned(Vertex {
                id,
                name: name.into(),
                stage: String::new(),
                inputs: Vec::new(),
                lines: None,
                internal: true,
                result: None,
            }),
        );
        self.emit(id, EventKind::Started);
        Task { events: self.clone(), id, open: true }
    }
}

/// A supporting vertex that is being worked on; dropped without an end it counts as canceled.
#[derive(Debug)]
pub struct Task {
    events: Events,
    id: VertexId,
    open: bool,
}

impl Task {
    /// The id of the vertex.
    pub fn id(&self) -> VertexId {
        self.id
    }

    /// The sink the task reports to.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Reports how far `item` is.
    pub fn progress(&self, item: impl Into<String>, current: u64, total: Option<u64>, done: bool) {
        let item = item.into();
        self.events.emit(self.id, EventKind::Progress(Progress { item, current, total, done }));
    }

    /// Ends the task as complete.
    pub fn done(mut self) {
        self.open = false;
        self.events.emit(self.id, EventKind::Done);
    }

    /// Ends the task as failed with `error`.
    pub fn failed(mut self, error: &dyn fmt::Display) {
        self.open = false;
        self.events.emit(self.id, EventKind::Failed { error: error.to_string() });
    }

    /// Ends the task by what `result` is, and passes the result on.
    pub fn finish<T, E: fmt::Display>(self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.done(),
            Err(error) => self.failed(error),
        }
        result
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.open {
            self.events.emit(self.id, EventKind::Canceled);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn recorder() -> (Events, Arc<Mutex<Vec<EventKind>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let events = Events::new(move |event| {
            if let Ok(mut seen) = sink.lock() {
                seen.push(event.kind);
            }
        });
        (events, seen)
    }

    #[test]
    fn a_task_ends_exactly_once() {
        let (events, seen) = recorder();
        events.task("one").done();
        drop(events.task("two"));
        let failed: Result<(), _> = events.task("three").finish(Err("no space"));
        assert!(failed.is_err());
        let ends: Vec<_> = seen
            .lock()
            .map(|seen| {
                seen.iter()
                    .filter(|k| !matches!(k, EventKind::Planned(_) | EventKind::Started))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        assert_eq!(
            ends,
            [EventKind::Done, EventKind::Canceled, EventKind::Failed { error: "no space".into() }]
        );
    }

    #[test]
    fn events_survive_json() -> Result<(), serde_json::Error> {
        for data in [&b"text\n"[..], b"\xffx", b""] {
            let event = Event {
                at: SystemTime::UNIX_EPOCH
                    + std::time::Duration::from_nanos(1_700_000_000_000_000_001),
                id: VertexId::next(),
                kind: EventKind::Log { stream: Stream::Stderr, data: data.to_vec() },
            };
            let back: Event = serde_json::from_str(&serde_json::to_string(&event)?)?;
            assert_eq!(back, event);
        }
        Ok(())
    }
}
