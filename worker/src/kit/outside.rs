//! Waiting, in real time, for what happens outside of the kit: a program of a script that answers.
//!
//! Owns: how often tasks were woken. Leaves to others: which ones, and what they do then. Invariant: a wake-up is never
//! lost: one that comes between a look and the wait ends the wait at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often something rang.
#[derive(Debug, Default)]
pub(super) struct Rings {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Rings {
    pub(super) fn ring(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// How often so far.
    pub(super) fn count(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it rang more often than `seen`, for so long at most. Whether it did.
    pub(super) fn wait(&self, seen: u64, time: Duration) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(count, time, |count| *count == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0 != seen
    }
}
