//! Waking a task from outside its calls.
//!
//! Owns: the bell that something outside rings and the task hears. Leaves to others: when a task runs
//! ([`crate::runtime`]), what it does then ([`super::Bolt::woken`]). Invariant: a ring is never lost; several before the
//! task runs are one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crate::gate::Wake;

/// Wakes one task: [`super::Bolt::woken`] is called soon after, between two tuples.
///
/// It may be cloned, kept and used by any thread. It does no harm when the task is gone.
#[derive(Clone, Default)]
pub struct Waker(Arc<Bell>);

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    task: OnceLock<Weak<dyn Wake>>,
}

impl Waker {
    /// Wakes the task. Never blocks.
    pub fn wake(&self) {
        self.0.rung.store(true, Ordering::SeqCst);
        if let Some(task) = self.0.task.get().and_then(Weak::upgrade) {
            task.wake();
        }
    }

    /// From now on it wakes this. The first call counts.
    pub(crate) fn attach(&self, task: Weak<dyn Wake>) {
        let _ = self.0.task.set(task);
    }

    /// Whether it was rung since the last [`Waker::take`].
    #[inline]
    pub(crate) fn is_rung(&self) -> bool {
        self.0.rung.load(Ordering::Relaxed)
    }

    /// Hears it.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.is_rung() && self.0.rung.swap(false, Ordering::SeqCst)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waker(rung: {})", self.is_rung())
    }
}
