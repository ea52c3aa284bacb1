use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks without a panic of another task becoming ours: no code here leaves its data half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
