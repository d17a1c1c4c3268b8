//! Where the futures of asynchronous bolts run.
//!
//! Owns: one tokio runtime for a worker's bolts, made when the first of them is. Leaves to others: what runs there
//! ([`super::concurrent`]), and the runtime of a test, whose time is its own ([`crate::kit`]). Invariant: it is not the
//! runtime of the transport, so a bolt whose future blocks a thread disturbs no peer and no heartbeat.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};

use super::ComponentError;

/// Threads of the runtime: futures wait, they do not compute.
const THREADS: usize = 2;

/// Where futures run.
#[derive(Clone, Default)]
pub(crate) struct Futures {
    /// The runtime of a test.
    given: Option<Handle>,
    own: Arc<OnceLock<Own>>,
}

struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        // This may be a thread of a runtime, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Futures {
    /// Those that run where a test says.
    pub(crate) fn on(handle: Handle) -> Self {
        Self {
            given: Some(handle),
            own: Arc::default(),
        }
    }

    /// Where to spawn.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(crate) fn handle(&self) -> Result<Handle, ComponentError> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        if self.own.get().is_none() {
            let runtime = Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("async")
                .enable_all()
                .build()
                .map_err(|error| ComponentError::outside("start the threads of asynchronous bolts", error))?;
            // If another thread was faster, this one ends unused.
            let _ = self.own.set(Own(Some(runtime)));
        }
        let runtime = self.own.get().and_then(|own| own.0.as_ref());
        Ok(runtime.expect("it was set just now").handle().clone())
    }
}

impl fmt::Debug for Futures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Futures(started: {})",
            self.given.is_some() || self.own.get().is_some()
        )
    }
}
