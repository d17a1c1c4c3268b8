//! The monotonic clock of a worker.

use crate::rim::Instant;

/// Microseconds since the worker's process began.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Microseconds since the start.
    #[inline]
    pub fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}
