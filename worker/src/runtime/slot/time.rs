//! When a slot is woken by time, and the life of one with a thread of its own, which is its timer, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Node, QUEUED, Slot};
use crate::gate::Wake as _;

/// How soon the timer wakes a task at the earliest, in microseconds. A spout that asks to be polled in less emits more rows
/// at once instead: what a few rows cost on their way, in wake-ups above all, is worth more time than that.
const MIN_WAIT: u64 = 200;

impl Slot {
    /// The timer woke the task.
    pub fn timer_fired(&self) {
        self.timer_at.store(u64::MAX, Ordering::SeqCst);
    }

    /// The life of a task with a thread of its own: slices when woken, until [`Slot::stop`].
    pub fn run_on_own_thread(&self) {
        let _ = self.thread.set(std::thread::current());
        while !self.stopped.load(Ordering::SeqCst) {
            if self.state.load(Ordering::SeqCst) == QUEUED {
                self.run();
            } else {
                self.park();
            }
        }
        if let Some(node) = self.node.upgrade() {
            self.drop_inbox(&node);
        }
    }

    /// Sleeps until the task is woken or its time has come: the thread of a task is its timer, too.
    fn park(&self) {
        let at = self.timer_at.load(Ordering::SeqCst);
        let Some(node) = self.node.upgrade().filter(|_| at != u64::MAX) else {
            return std::thread::park();
        };
        let wait = at.saturating_sub(node.clock().now());
        drop(node);
        if wait > 0 {
            std::thread::park_timeout(Duration::from_micros(wait));
        } else {
            self.timer_fired();
            self.wake();
        }
    }

    /// Lets the task be woken at `at` microseconds.
    pub(super) fn wake_later(&self, node: &Arc<Node>, at: u64) {
        let at = at.max(node.clock().now() + MIN_WAIT);
        if self.timer_at.fetch_min(at, Ordering::SeqCst) > at
            && !self.own_thread
            && let Some(this) = self.this.upgrade()
        {
            node.timer().wake_at(&this, at);
        }
    }
}
