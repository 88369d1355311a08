//! How far blobs are, on the one event stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bld_event::{EventKind, Events, Progress, Task, VertexId};
use bld_oci::Descriptor;

/// A moving number is shown ten times a second at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reports progress as part of one vertex, whose beginning and end are somebody else's business.
#[derive(Debug, Clone)]
pub struct Reporter {
    events: Events,
    vertex: VertexId,
}

impl Reporter {
    /// Reports about `vertex`.
    pub fn new(events: &Events, vertex: VertexId) -> Self {
        Self { events: events.clone(), vertex }
    }

    /// Reports to nobody.
    pub fn none() -> Self {
        Self { events: Events::none(), vertex: VertexId::next() }
    }

    /// The progress of the blob that `descriptor` describes.
    pub fn blob(&self, descriptor: &Descriptor) -> Item {
        Item(Arc::new(Inner {
            reporter: self.clone(),
            name: descriptor.digest().to_string(),
            total: descriptor.size(),
            began: Instant::now(),
            shown_at: AtomicU64::new(0),
        }))
    }
}

impl From<&Task> for Reporter {
    fn from(task: &Task) -> Self {
        Self::new(task.events(), task.id())
    }
}

/// The progress of one blob. Clones are the same item. One that is done before anything else was said of it
/// did not have to be transferred.
#[derive(Debug, Clone)]
pub struct Item(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reporter: Reporter,
    name: String,
    total: u64,
    began: Instant,
    /// Milliseconds since `began`.
    shown_at: AtomicU64,
}

impl Item {
    /// Sets the bytes done so far.
    pub fn set(&self, current: u64) {
        let now = self.0.began.elapsed().as_millis() as u64;
        let due = self.0.shown_at.load(Ordering::Relaxed);
        let next = now + INTERVAL.as_millis() as u64;
        let ours = || {
            self.0
                .shown_at
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now >= due && ours() {
            self.emit(current, false);
        }
    }

    /// All is done.
    pub fn done(&self) {
        self.emit(self.0.total, true);
    }

    fn emit(&self, current: u64, done: bool) {
        let Inner { reporter, name, total, .. } = &*self.0;
        let progress = Progress { item: name.clone(), current, total: Some(*total), done };
        reporter.events.emit(reporter.vertex, EventKind::Progress(progress));
    }
}
