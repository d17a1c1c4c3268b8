//! Whether a task is frozen, to be moved.
//!
//! Owns: that it was asked for, and the state that came of it. Leaves to others: when a task looks ([`super::slot`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::component::ComponentError;

enum State {
    No,
    /// Asked for; the next slice does it.
    Asked,
    /// This is the task's state.
    Done(Arc<[u8]>),
}

/// The freeze of one task.
pub(super) struct Freeze {
    state: Mutex<State>,
    /// It is asked for or done.
    is_on: AtomicBool,
}

impl Freeze {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::No),
            is_on: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for it.
    pub(super) fn ask(&self) {
        let mut state = self.state();
        if matches!(*state, State::No) {
            *state = State::Asked;
            self.is_on.store(true, Ordering::SeqCst);
        }
    }

    /// The state of a frozen task.
    pub(super) fn done(&self) -> Option<Arc<[u8]>> {
        match &*self.state() {
            State::Done(state) => Some(Arc::clone(state)),
            State::No | State::Asked => None,
        }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        *self.state() = State::No;
        self.is_on.store(false, Ordering::SeqCst);
    }

    /// Freezes the task if that was asked for. Whether it is frozen.
    #[inline]
    pub(super) fn look(
        &self,
        snapshot: impl FnOnce() -> Result<Vec<u8>, ComponentError>,
    ) -> Result<bool, ComponentError> {
        if !self.is_on.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let mut state = self.state();
        if matches!(*state, State::Asked) {
            *state = State::Done(snapshot()?.into());
        }
        Ok(matches!(*state, State::Done(_)))
    }
}
