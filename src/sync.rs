//! What threads share, exchangeable for tools that try every order of events.

#[cfg(relent_loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(relent_shuttle)]
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, atomic};
#[cfg(not(any(relent_loom, relent_shuttle)))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};

/// Locks. A panic elsewhere leaves nothing half done behind these locks, so it does not spoil them.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
