//! What runs tasks: a few threads that share one queue of tasks that are ready.
//!
//! Owns: the ready queue, the threads, spinning before they sleep, looking at the timer. Leaves to others: what a slice of a
//! task is ([`super::slot`]), who is due when ([`super::timer`]). Invariants: a slot is in the queue at most once; while a
//! thread has nothing to do, no slot waits in the queue, and none that is due is woken later than [`GRACE`].
//!
//! Waking a thread costs more than most slices do. So what a thread queues at the end of a slice it takes itself, and only
//! if there is more than that it wakes another one, which does the same in its turn.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::slot::Slot;
use super::timer::Timer;

/// How long a thread looks for work before it sleeps: waking a thread costs about as much.
const SPIN: Duration = Duration::from_micros(15);
/// How much later than the first one the other threads that sleep look at the timer, in microseconds.
const GRACE: u64 = 500;

thread_local! {
    /// This thread is about to look for work.
    static HANDS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Queues what `deliver` wakes without waking a thread for it: for a thread of the executor that is about to look for work.
pub(super) fn hand_over<T>(deliver: impl FnOnce() -> T) -> T {
    HANDS_OVER.set(true);
    let delivered = deliver();
    HANDS_OVER.set(false);
    delivered
}

/// The threads that run the tasks of one worker.
pub(super) struct Executor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    timer: Arc<Timer>,
    queue: Mutex<Queue>,
    ready: AtomicUsize,
    sleeping: AtomicUsize,
    /// When the first of those that sleep looks at the timer, in microseconds; `u64::MAX` if none does.
    looks_at: AtomicU64,
    wake: Condvar,
    stopped: AtomicBool,
}

impl Executor {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(threads: usize, timer: Arc<Timer>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(timer));
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
    pub(super) fn without_threads(timer: Arc<Timer>) -> Self {
        Self {
            shared: Arc::new(Shared::new(timer)),
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
        let at = usize::from(second && queue.slots.len() > 1);
        let slot = queue.slots.remove(at)?;
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
            .slots
            .clear();
    }
}

#[derive(Default)]
struct Queue {
    slots: VecDeque<Arc<Slot>>,
    /// When each thread that sleeps looks at the timer.
    sleepers: Vec<u64>,
}

impl Shared {
    fn new(timer: Arc<Timer>) -> Self {
        Self {
            timer,
            queue: Mutex::default(),
            ready: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            looks_at: AtomicU64::new(u64::MAX),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    fn push(&self, slot: Arc<Slot>) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .slots
            .push_back(slot);
        self.ready.fetch_add(1, Ordering::SeqCst);
        if !HANDS_OVER.get() {
            self.wake_one();
        }
    }

    fn wake_one(&self) {
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
            .slots
            .pop_front()?;
        let others = self.ready.fetch_sub(1, Ordering::SeqCst) - 1;
        // This thread is away for a while: there may be another slot to run, or to wake in time.
        let looks_at = self.looks_at.load(Ordering::SeqCst);
        if others > 0 || self.timer.next().saturating_add(GRACE) < looks_at {
            self.wake_one();
        }
        Some(slot)
    }

    fn run(&self) {
        while !self.stopped.load(Ordering::Relaxed) {
            if self.timer.is_due() {
                hand_over(|| self.timer.fire());
            }
            match self.pop() {
                Some(slot) => slot.run(),
                None => self.rest(),
            }
        }
    }

    /// Spins a little, then sleeps until there is work or a slot is due.
    fn rest(&self) {
        let from = Instant::now();
        while from.elapsed() < SPIN {
            if self.ready.load(Ordering::Relaxed) > 0 || self.timer.is_due() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.slots.is_empty() || self.stopped.load(Ordering::SeqCst) {
            return;
        }
        let next = self.timer.next();
        // The first one to sleep looks in time, the others a little later, should it be away by then.
        let at = if next < self.looks_at.load(Ordering::SeqCst) {
            next
        } else {
            next.saturating_add(GRACE)
        };
        queue.sleepers.push(at);
        self.note_sleepers(&queue);
        queue = if at == u64::MAX {
            self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner)
        } else {
            let wait = Duration::from_micros(self.timer.until(at));
            let woken = self.wake.wait_timeout(queue, wait);
            woken.unwrap_or_else(PoisonError::into_inner).0
        };
        if let Some(own) = queue.sleepers.iter().position(|&sleeper| sleeper == at) {
            queue.sleepers.swap_remove(own);
        }
        self.note_sleepers(&queue);
    }

    fn note_sleepers(&self, queue: &Queue) {
        self.sleeping.store(queue.sleepers.len(), Ordering::SeqCst);
        let first = queue.sleepers.iter().min().copied();
        self.looks_at.store(first.unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}
