//! The way from those who say what happens to the thread that shows it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Message;

/// How long events are gathered before they are shown. Nobody sees the difference, and whoever says
/// something does not have to wake the reader each time.
const GATHER: Duration = Duration::from_millis(4);

/// Messages that wait for the reader, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Among them is one that somebody waits for.
    urgent: bool,
    /// The reader sleeps until there is something.
    asleep: bool,
}

impl Queue {
    /// Adds a message.
    pub(super) fn put(&self, message: Message) {
        let mut waiting = self.lock();
        waiting.urgent |= !matches!(message, Message::Event(_));
        waiting.messages.push(message);
        if waiting.asleep || waiting.urgent {
            self.changed.notify_one();
        }
    }

    /// Takes all messages there are; waits for the first one, but not longer than `patience`.
    pub(super) fn take(&self, patience: Duration) -> Vec<Message> {
        let mut waiting = self.lock();
        waiting.asleep = true;
        waiting = self.wait(waiting, patience, |waiting| waiting.messages.is_empty());
        waiting.asleep = false;
        if !waiting.messages.is_empty() {
            waiting = self.wait(waiting, GATHER, |waiting| !waiting.urgent);
        }
        waiting.urgent = false;
        std::mem::take(&mut waiting.messages)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        patience: Duration,
        condition: impl Fn(&mut Waiting) -> bool,
    ) -> MutexGuard<'a, Waiting> {
        let waited = self.changed.wait_timeout_while(waiting, patience, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use bld_event::{Event, EventKind, VertexId};

    use super::*;

    fn event() -> Message {
        let at = std::time::SystemTime::now();
        Message::Event(Event { at, id: VertexId::next(), kind: EventKind::Done })
    }

    #[test]
    fn everything_arrives_in_order_up_to_the_end() {
        let queue = Arc::new(Queue::default());
        let writer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                (0..1000).for_each(|_| queue.put(event()));
                queue.put(Message::Finish);
            }
        });
        let mut ids = Vec::new();
        'all: loop {
            for message in queue.take(Duration::from_mins(1)) {
                match message {
                    Message::Event(event) => ids.push(event.id),
                    _ => break 'all,
                }
            }
        }
        writer.join().unwrap();
        assert_eq!(ids.len(), 1000);
        assert!(ids.is_sorted());
    }

    #[test]
    fn without_a_message_patience_ends() {
        assert!(Queue::default().take(Duration::ZERO).is_empty());
    }
}
