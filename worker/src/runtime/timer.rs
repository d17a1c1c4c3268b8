//! When tasks want to be woken.
//!
//! Owns: the times that tasks asked for. Leaves to others: the threads that look at them ([`super::executor`]). Invariant: a
//! wake too many does no harm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::clock::Clock;
use super::slot::Slot;
use crate::gate::Wake;

/// The timer of one worker.
pub(super) struct Timer {
    clock: Clock,
    state: Mutex<State>,
    /// When the first slot is due, in microseconds; `u64::MAX` if none is.
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    slots: Vec<Option<Weak<Slot>>>,
}

impl Timer {
    /// A timer by which nothing is due yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            next: AtomicU64::new(u64::MAX),
        }
    }

    /// Lets `slot` be woken at `at` microseconds.
    pub(super) fn wake_at(&self, slot: &Arc<Slot>, at: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let task = slot.task() as usize;
        if state.slots.len() <= task {
            state.slots.resize_with(task + 1, || None);
        }
        // A task that went and came back is another slot.
        let known = state.slots[task].as_ref();
        if known.is_none_or(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(slot))) {
            state.slots[task] = Some(Arc::downgrade(slot));
        }
        state.due.push(Reverse((at, slot.task())));
        self.next.fetch_min(at, Ordering::SeqCst);
    }

    /// When the first slot is due, in microseconds; `u64::MAX` if none is.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// How many microseconds there are until then; none if a slot is due.
    pub(super) fn until(&self, at: u64) -> u64 {
        at.saturating_sub(self.clock.now())
    }

    /// Whether a slot is due.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let next = self.next();
        next != u64::MAX && next <= self.clock.now()
    }

    /// Wakes the slots that are due, and says when the next one is, in microseconds.
    pub(super) fn fire(&self) -> Option<u64> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = None;
        while let Some(&Reverse((at, task))) = state.due.peek() {
            if at > now {
                next = Some(at);
                break;
            }
            state.due.pop();
            let slot = state
                .slots
                .get(task as usize)
                .and_then(|slot| slot.as_ref()?.upgrade());
            if let Some(slot) = slot {
                slot.timer_fired();
                slot.wake();
            }
        }
        self.next.store(next.unwrap_or(u64::MAX), Ordering::SeqCst);
        next
    }
}
