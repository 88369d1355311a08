//! Shared state that outlives a panic of whoever changed it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. What is kept behind locks in this crate is replaced as a whole, so a panic in
/// between leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
