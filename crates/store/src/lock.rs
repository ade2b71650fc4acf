//! A lock whose holder may have panicked.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves these structs whole: their changes are single assignments.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
