//! Wakes tasks at a time of their choice.
//!
//! Owns: one thread and the times that tasks asked for. Invariant: a task is woken at its time or earlier, never
//! later than the thread's own delay; a wake too many does no harm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Clock;
use super::slot::Slot;
use crate::gate::Wake;

/// The timer of one worker.
pub(super) struct Timer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    slots: Vec<Option<Weak<Slot>>>,
    stopped: bool,
}

impl Timer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("timer".into())
                .spawn(move || shared.run())?
        };
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Starts no thread: a simulation calls [`Timer::fire`].
    #[cfg(test)]
    pub(super) fn without_thread(clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            thread: Mutex::default(),
        }
    }

    /// Wakes the slots that are due, and says when the next one is, in microseconds.
    #[cfg(test)]
    pub(super) fn fire(&self) -> Option<u64> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fire(self.shared.clock.now())
    }

    /// Wakes `slot` at `at` microseconds.
    pub(super) fn wake_at(&self, slot: &Arc<Slot>, at: u64) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let task = slot.task() as usize;
        if state.slots.len() <= task {
            state.slots.resize_with(task + 1, || None);
        }
        // A task that went and came back is another slot.
        let known = state.slots[task].as_ref();
        if known.is_none_or(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(slot))) {
            state.slots[task] = Some(Arc::downgrade(slot));
        }
        let first = state.due.peek().is_none_or(|Reverse((first, _))| at < *first);
        state.due.push(Reverse((at, slot.task())));
        if first {
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The thread runs no code of components and does not panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.stopped {
            let now = self.clock.now();
            match state.fire(now) {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = Duration::from_micros(at - now);
                    state = self
                        .changed
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }
}

impl State {
    /// Wakes the slots that are due at `now`, and says when the next one is.
    fn fire(&mut self, now: u64) -> Option<u64> {
        while let Some(&Reverse((at, task))) = self.due.peek() {
            if at > now {
                return Some(at);
            }
            self.due.pop();
            let slot = self
                .slots
                .get(task as usize)
                .and_then(|slot| slot.as_ref()?.upgrade());
            if let Some(slot) = slot {
                slot.timer_fired();
                slot.wake();
            }
        }
        None
    }
}
