//! Time, chance and what runs beside: the rim of a worker that its simulation replaces.
//!
//! Owns: the only ways of the transport, the tasks and the worker's life to the clock, to random numbers and to futures of
//! their own. In the product each is the library's, at no cost. In this crate's own tests, a thread that simulates
//! workers gets those of the simulated world instead (`crate::simulation`).

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

#[cfg(test)]
use crate::simulation::rim as simulated;

#[cfg(test)]
pub(crate) use crate::simulation::rim::Instant;
#[cfg(not(test))]
pub(crate) use std::time::Instant;

/// Waits for some time.
pub(crate) async fn sleep(time: Duration) {
    #[cfg(test)]
    if simulated::is_here() {
        // tidy: allow(sleep) time is virtual here
        return simulated::sleep(time).await;
    }
    tokio::time::sleep(time).await;
}

/// Waits for `future`, but no longer than `time`.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep(time) => None,
    }
}

/// Something that is due again and again. After a delay the next one is due a full pause later.
#[derive(Debug)]
pub(crate) struct Ticks {
    every: Duration,
    next: Instant,
}

impl Ticks {
    /// The first tick is due at once.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every,
            next: Instant::now(),
        }
    }

    /// Waits for the next tick. May be dropped and called again.
    pub(crate) async fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next {
            sleep(self.next - now).await;
        }
        self.next = Instant::now() + self.every;
    }
}

/// Whether this thread simulates workers.
#[cfg(test)]
pub(crate) fn is_simulated() -> bool {
    simulated::is_here()
}

/// A random number.
pub(crate) fn random() -> u64 {
    #[cfg(test)]
    if let Some(number) = simulated::random() {
        return number;
    }
    rand::random()
}

/// `time`, or less: at least half of it.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + (random() >> 12) as f64 / (1u64 << 53) as f64)
}

/// Futures that run beside their owner and end with it.
pub(crate) struct Tasks {
    running: Mutex<JoinSet<()>>,
    /// Where they run: tasks ask for them from threads of their own.
    runtime: Handle,
}

impl Tasks {
    /// None yet. Called within a runtime, which will run them.
    pub(crate) fn new() -> Self {
        Self {
            running: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Runs a future.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        #[cfg(test)]
        if simulated::is_here() {
            return simulated::spawn(future);
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.spawn_on(future, &self.runtime);
    }

    /// Ends them all.
    pub(crate) async fn shutdown(&self) {
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.shutdown().await;
    }
}
