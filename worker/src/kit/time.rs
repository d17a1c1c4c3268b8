//! The time of the futures of asynchronous bolts in a test.
//!
//! Owns: a tokio runtime on the test's own thread whose clock goes on only when the test says so, and who was woken.
//! Leaves to others: the time of tasks ([`super::Kit`]). Invariant: nothing runs but while the kit lets it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outside::Rings;
use crate::gate::Wake;

/// Rounds in which every future that is ready gets its turn: some have others run for them.
const ROUNDS: usize = 32;

/// The futures of one kit.
pub(super) struct Time {
    runtime: Option<Runtime>,
    started: Instant,
    woken: Arc<Notify>,
    rings: Arc<Rings>,
}

/// Hears that a task is to run.
pub(super) struct Bell {
    rung: AtomicBool,
    any: Arc<Notify>,
    rings: Arc<Rings>,
}

impl Wake for Bell {
    fn wake(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.any.notify_one();
        self.rings.ring();
    }
}

impl Bell {
    /// Whether it was rung since the last call.
    pub(super) fn take(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    pub(super) fn as_wake(self: &Arc<Self>) -> Weak<dyn Wake> {
        let wake: Arc<dyn Wake> = Arc::clone(self) as Arc<dyn Wake>;
        Arc::downgrade(&wake)
    }
}

impl Time {
    /// A time that stands still.
    ///
    /// # Errors
    /// If the system refuses a runtime.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        let guard = runtime.enter();
        let started = Instant::now();
        drop(guard);
        Ok(Self {
            runtime: Some(runtime),
            started,
            woken: Arc::default(),
            rings: Arc::default(),
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the end")
    }

    /// Where futures are spawned.
    pub(super) fn handle(&self) -> Handle {
        self.runtime().handle().clone()
    }

    /// What a task is woken by.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::new(Bell {
            rung: AtomicBool::new(false),
            any: Arc::clone(&self.woken),
            rings: Arc::clone(&self.rings),
        })
    }

    /// How often a task was woken.
    pub(super) fn rings(&self) -> &Rings {
        &self.rings
    }

    /// How many futures there are.
    fn futures(&self) -> usize {
        self.runtime().metrics().num_alive_tasks()
    }

    /// Lets futures run as far as they come at `now` microseconds.
    pub(super) fn settle(&self, now: u64) {
        let futures = self.futures();
        if futures == 0 {
            return;
        }
        self.runtime().block_on(async {
            // While there was no future, no time went by here.
            let behind = Duration::from_micros(now).saturating_sub(self.started.elapsed());
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            for _ in 0..ROUNDS + futures / 16 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets futures run until `at` microseconds, or until one has woken a task. When that was.
    pub(super) fn run_until(&self, at: u64) -> u64 {
        if self.futures() == 0 {
            return at;
        }
        let until = self.started + Duration::from_micros(at);
        self.runtime().block_on(async {
            tokio::select! {
                biased;
                () = self.woken.notified() => {}
                () = tokio::time::sleep_until(until) => return at,
            }
            at.min(self.started.elapsed().as_micros() as u64)
        })
    }
}

impl Drop for Time {
    fn drop(&mut self) {
        // The test may have a runtime of its own, whose threads must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
