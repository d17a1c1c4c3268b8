//! Poison: tuples that kill the process that works on them.
//!
//! Owns: the page of memory that outlives a process and says which tuple each of its tasks was at ([`Page`]), what is
//! read from it after a death ([`left_in`]). Leaves to others: the page's file, which the parent process holds
//! ([`crate::parent`]), what a spout makes of a death ([`crate::task`]), telling other workers ([`crate::worker`]).
//!
//! ```text
//! task:   enter(frame), at(row 0), at(row 1) ── dies
//! signal handler, or what caught the panic: mark(cause) on the thread that died
//! parent: how the process ended
//! next process: left_in(page) ──> culprits: root, cause ──> the spout of each root counts an attempt
//! ```
//!
//! Invariants: a task writes to its own place only, with plain stores; what is read after a death is checked like any
//! bytes from outside; a process that somebody killed has no culprit.

mod left;
mod memory;
mod page;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use waterspout_core::frame::GroupId;

pub use left::{Ended, Left, left_in};
pub(crate) use memory::mark_crashes;
pub use page::{Here, Keys, Page, Place};

/// What a tuple did to the process that worked on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The component panicked.
    Panicked,
    /// The component returned an error.
    Error,
    /// The process got a signal for what it did: it aborted, its stack overflowed, it touched memory that is not there.
    Crashed,
    /// The process had more memory than it may have.
    OutOfMemory,
    /// The component ended the process.
    Exited,
    /// The task was at it for longer than `taskTimeout`.
    Stuck,
}

impl Cause {
    const ALL: [Self; 6] = [
        Self::Panicked,
        Self::Error,
        Self::Crashed,
        Self::OutOfMemory,
        Self::Exited,
        Self::Stuck,
    ];

    /// As dead letters say it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Error => "error",
            Self::Crashed => "crashed",
            Self::OutOfMemory => "out of memory",
            Self::Exited => "exited",
            Self::Stuck => "stuck",
        }
    }

    fn code(self) -> u64 {
        1 + self as u64
    }

    fn of_code(code: u64) -> Option<Self> {
        Self::ALL
            .get(usize::try_from(code.checked_sub(1)?).ok()?)
            .copied()
    }
}

/// A root that a process died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Culprit {
    /// The spout task that emitted it.
    pub spout: u32,
    /// The life of the spout's process and of its epoch.
    pub life: u32,
    /// The sequence of its group.
    pub sequence: u64,
    /// Which root of the group.
    pub root: u8,
    /// What it did.
    pub cause: Cause,
    /// False if another task may have done it just as well.
    pub is_sure: bool,
}

impl Culprit {
    /// Its group.
    pub fn group(&self) -> GroupId {
        GroupId {
            spout: self.spout,
            life: self.life,
            sequence: self.sequence,
        }
    }
}

/// How often a process died of a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// What makes the spout know it again: see [`crate::component::Spout::ids_last`].
    pub key: u64,
    /// Attempts that failed.
    pub times: u32,
    /// Deaths that another tuple may have caused just as well.
    pub suspected: u32,
    /// Of the last death.
    pub cause: Cause,
}

impl Tally {
    /// No death yet.
    pub fn new(key: u64, cause: Cause) -> Self {
        Self {
            key,
            times: 0,
            suspected: 0,
            cause,
        }
    }

    /// Counts a death. One that others may have caused is held against it once it was there a second time.
    pub fn count(&mut self, cause: Cause, is_sure: bool) {
        self.cause = cause;
        if is_sure {
            self.times += 1;
        } else {
            self.suspected += 1;
            match self.suspected {
                1 => {}
                2 => self.times += 2,
                _ => self.times += 1,
            }
        }
    }
}

thread_local! {
    /// Where the task that this thread runs is marked.
    static MARK: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

/// From now on this thread runs the task of `place`, or none.
pub fn run_at(place: Option<Place>) {
    MARK.set(place.map(Place::mark_word));
}

/// Notes that the process dies of the tuple at which the task of this thread is. Safe within a signal handler.
pub fn mark_here(cause: Cause) {
    // A thread that is at its end has no task.
    let mark = MARK.try_with(Cell::get).ok().flatten();
    if let Some(mark) = mark {
        mark.store(cause.code(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
