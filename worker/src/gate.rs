//! Gates: what tells a task that a queue it feeds is full.
//!
//! Owns: the count of frames and bytes in one bounded queue, and who waits for room. Leaves to others: the queue.
//! Invariant: a push always succeeds; a task is only not *started* while a gate that it feeds is closed. A gate closes
//! at its limit and opens again at half of it, so that a waiting task is woken for more than one frame.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Something that can be run again, such as a task that waits for room.
pub trait Wake: Send + Sync {
    /// Makes it run soon. Never blocks; calling it too often does no harm.
    fn wake(&self);
}

/// The fill of one bounded queue.
pub struct Gate {
    frames: AtomicUsize,
    bytes: AtomicUsize,
    max_frames: usize,
    max_bytes: usize,
    waiting: AtomicBool,
    waiters: Mutex<Vec<Arc<dyn Wake>>>,
}

impl Gate {
    /// A gate that closes at `max_frames` frames or `max_bytes` bytes, whichever comes first.
    pub fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            frames: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_frames,
            max_bytes,
            waiting: AtomicBool::new(false),
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Whether a task that feeds this queue should wait.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.frames.load(Ordering::Relaxed) >= self.max_frames
            || self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    /// Frames in the queue.
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts frames that were put in.
    #[inline]
    pub fn add(&self, frames: usize, bytes: usize) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts frames that were taken out, and wakes who waits if there is room again.
    #[inline]
    pub fn remove(&self, frames: usize, bytes: usize) {
        let frames = self.frames.fetch_sub(frames, Ordering::SeqCst) - frames;
        let bytes = self.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if self.waiting.load(Ordering::SeqCst) && frames <= self.max_frames / 2 && bytes <= self.max_bytes / 2
        {
            self.wake_all();
        }
    }

    /// Asks to be woken when there is room. False if there is room already: then nobody will be woken.
    pub fn wait(&self, waiter: &Arc<dyn Wake>) -> bool {
        self.waiters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(waiter));
        self.waiting.store(true, Ordering::SeqCst);
        // Room may have come between the caller's look and the store: then no `remove` may follow.
        let full = self.frames.load(Ordering::SeqCst) > self.max_frames / 2
            || self.bytes.load(Ordering::SeqCst) > self.max_bytes / 2;
        if !full {
            self.wake_all();
        }
        full
    }

    fn wake_all(&self) {
        self.waiting.store(false, Ordering::SeqCst);
        let waiters = std::mem::take(&mut *self.waiters.lock().unwrap_or_else(PoisonError::into_inner));
        for waiter in waiters {
            waiter.wake();
        }
    }
}
