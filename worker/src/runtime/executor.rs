//! What runs tasks: a few threads that share one queue of tasks that are ready.
//!
//! Owns: the ready queue, the threads, spinning before they sleep. Leaves to others: what a slice of a task is
//! ([`super::slot`]). Invariant: a slot is in the queue at most once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::slot::Slot;

/// How long a thread looks for work before it sleeps: waking a thread costs about as much.
const SPIN: Duration = Duration::from_micros(15);

/// The threads that run the tasks of one worker.
pub(super) struct Executor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Arc<Slot>>>,
    ready: AtomicUsize,
    sleeping: AtomicUsize,
    wake: Condvar,
    stopped: AtomicBool,
}

impl Executor {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..threads.max(1))
            .map(|number| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("tasks-{number}"))
                    .spawn(move || shared.run())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            threads: Mutex::new(threads),
        })
    }

    /// Starts no threads: a simulation runs what is queued.
    #[cfg(test)]
    pub(super) fn without_threads() -> Self {
        Self {
            shared: Arc::default(),
            threads: Mutex::default(),
        }
    }

    /// How many slots are queued.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.shared.ready.load(Ordering::SeqCst)
    }

    /// Takes out the slot that was queued longest, or the one after it.
    #[cfg(test)]
    pub(super) fn take(&self, second: bool) -> Option<Arc<Slot>> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(second && queue.len() > 1);
        let slot = queue.remove(at)?;
        self.shared.ready.fetch_sub(1, Ordering::SeqCst);
        Some(slot)
    }

    /// Queues a slot that is ready.
    pub(super) fn push(&self, slot: Arc<Slot>) {
        self.shared.push(slot);
    }

    /// Stops the threads after the slices that they are in. What is queued is dropped.
    pub(super) fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                // A panic of a task was caught and reported by its slot.
                let _ = thread.join();
            }
        }
        self.shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Shared {
    fn push(&self, slot: Arc<Slot>) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(slot);
        self.ready.fetch_add(1, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            let _guard = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<Slot>> {
        if self.ready.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let slot = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()?;
        self.ready.fetch_sub(1, Ordering::SeqCst);
        Some(slot)
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::Relaxed) {
            match self.pop() {
                Some(slot) => slot.run(),
                None => self.rest(),
            }
        }
    }

    /// Spins a little, then sleeps until there is work.
    fn rest(&self) {
        let from = Instant::now();
        while from.elapsed() < SPIN {
            if self.ready.load(Ordering::Relaxed) > 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while queue.is_empty() && !self.stopped.load(Ordering::SeqCst) {
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }
}
