//! Giving up on work: one token, seen by every part of a long operation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Callbacks {
    next: u64,
    waiting: BTreeMap<u64, Callback>,
}

#[derive(Default)]
struct Inner {
    canceled: AtomicBool,
    callbacks: Mutex<Callbacks>,
}

/// Asks an operation to stop. Cloning is cheap; all clones are the same token.
///
/// It is a flag with callbacks instead of a future, so that the same token ends a sleeping poll, a
/// process in a container and an asynchronous upload, with or without a runtime.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_canceled()).finish()
    }
}

impl Cancel {
    /// A token that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the operation is to stop.
    pub fn is_canceled(&self) -> bool {
        self.0.canceled.load(Ordering::Acquire)
    }

    /// Asks the operation to stop; the callbacks run on this thread. Later calls do nothing.
    pub fn cancel(&self) {
        if self.0.canceled.swap(true, Ordering::AcqRel) {
            return;
        }
        let waiting = {
            let mut callbacks = self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut callbacks.waiting)
        };
        for callback in waiting.into_values() {
            callback();
        }
    }

    /// Calls `callback` once when the token is canceled, at once if it is already. Dropping the
    /// guard takes the callback back.
    #[must_use = "the callback is taken back when the guard is dropped"]
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> CancelGuard {
        {
            let mut callbacks = self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
            // Checked under the lock: `cancel` sets the flag before it takes the lock.
            if !self.is_canceled() {
                let id = callbacks.next;
                callbacks.next += 1;
                callbacks.waiting.insert(id, Box::new(callback));
                return CancelGuard { token: self.clone(), id: Some(id) };
            }
        }
        callback();
        CancelGuard { token: self.clone(), id: None }
    }

    /// A token that is canceled with this one, or alone.
    pub fn child(&self) -> (Self, CancelGuard) {
        let child = Self::new();
        let inner = child.clone();
        let guard = self.on_cancel(move || inner.cancel());
        (child, guard)
    }
}

/// Keeps a callback of [`Cancel::on_cancel`] waiting for as long as it lives.
#[derive(Debug)]
pub struct CancelGuard {
    token: Cancel,
    id: Option<u64>,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut callbacks =
                self.token.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
            callbacks.waiting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn callbacks_run_once_unless_taken_back() {
        let (token, calls) = (Cancel::new(), Arc::new(AtomicUsize::new(0)));
        let count = |calls: &Arc<AtomicUsize>| {
            let calls = Arc::clone(calls);
            move || {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        drop(token.on_cancel(count(&calls)));
        let _kept = token.on_cancel(count(&calls));
        let (child, _guard) = token.child();
        token.cancel();
        token.cancel();
        assert!(child.is_canceled());
        let _late = token.on_cancel(count(&calls));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_child_does_not_cancel_its_parent() {
        let token = Cancel::new();
        let (child, _guard) = token.child();
        child.cancel();
        assert!(!token.is_canceled());
    }
}
