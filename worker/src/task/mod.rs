//! The core of a task: one component's instance with its output, and nothing that schedules it.
//!
//! Owns: the loop over the rows of a frame, the polls of a spout, acks, the finish. Leaves to others: queues, threads
//! and time ([`crate::runtime`]), which hands frames in and takes shipped frames and ledger entries out. Invariants:
//! nothing here blocks, reads a clock or spawns; a task has one owner at a time.

mod anchored;
mod attempts;
mod bolt;
mod finish;
mod holds;
mod letters;
mod lost;
mod open;
mod output;
mod part;
mod roots;
mod script;
mod spout;

pub use attempts::DeadLetters;
pub use bolt::BoltTask;
pub use letters::{Letters, ListedLetter, Which};
pub use open::Shipped;
pub use output::{Output, OutputEdge, OutputStream};
pub use part::{Handed, Part};
pub(crate) use script::{ScriptSettings, ScriptTask};
pub use spout::SpoutTask;

use std::sync::Weak;

use waterspout_core::finish::TaskState;
use waterspout_core::frame::{Frame, GroupId};
use waterspout_core::ledger::{LedgerEntry, LedgerSettings};

use crate::component::ComponentError;
use crate::gate::Wake;
use crate::poison::{Culprit, Place, Tally};

/// Bytes that a task may emit before it looks at its gates again.
pub const OUTPUT_BUDGET: u64 = 128 << 10;
/// How long a frame may stay open while its task is busy, in microseconds.
pub const MAX_OPEN_MICROS: u64 = 1_000;

/// What a task did in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// There is more to do at once.
    More,
    /// Nothing to do before the next frame, entry or command, or this time (microseconds).
    Idle(Option<u64>),
}

/// Counts of one task since its process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tuples worked on.
    pub executed: u64,
    /// Tuples emitted.
    pub emitted: u64,
    /// Their bytes, once for each task that one goes to.
    pub emitted_bytes: u64,
    /// Roots acked.
    pub acked: u64,
    /// Roots that a task failed.
    pub failed: u64,
    /// Roots that took too long.
    pub timed_out: u64,
    /// Roots that something was lost of, with a worker or an epoch.
    pub lost: u64,
    /// Roots that were given up after their last attempt.
    pub dead: u64,
    /// Tuples held now.
    pub held: u64,
    /// Roots pending now.
    pub pending: u64,
}

/// How a task's roots are tracked in an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Tracking {
    /// The ledger of its roots.
    pub ledger: LedgerSettings,
    /// Whether they are tracked at all.
    pub is_tracked: bool,
    /// How often a root is emitted before it is given up.
    pub max_attempts: u32,
}

/// A run of acks with one latency.
pub type Latency = (u32, u64);

/// What the runtime sees of a task, whatever its component.
pub trait TaskCore: Send {
    /// Whether the task is in the middle of a frame.
    fn is_busy(&self) -> bool;
    /// What is to be woken when something outside rings for the task.
    fn wake_through(&mut self, task: Weak<dyn Wake>) {
        let _ = task;
    }
    /// Whether a program outside is at work for the task, or about to be: it will ring when it has answered.
    fn awaits_program(&self) -> bool {
        false
    }
    /// Asks a program that answers for each tuple when it likes for a sign that it has come to the end of what it was given, if
    /// it was given something since it was last asked. Whether it was asked.
    fn sound_out(&mut self) -> bool {
        false
    }
    /// Hands in the next frame. Not called while [`TaskCore::is_busy`].
    fn accept(&mut self, frame: Frame);
    /// Works until there is nothing more to do, the output budget is used up, or a time slice is over.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    fn run(&mut self, now: u64) -> Result<Ran, ComponentError>;
    /// How long the last run took, in microseconds.
    fn took(&mut self, micros: u64) {
        let _ = micros;
    }
    /// Applies entries for this task's own ledger.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    fn settle(&mut self, entries: &[LedgerEntry], now: u64) -> Result<(), ComponentError>;
    /// Gives up all roots that are pending: something of them was lost with a worker.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    fn fail_all(&mut self) -> Result<(), ComponentError>;
    /// Processes died of these roots of this task's, at `now`: each counts as an attempt.
    fn died(&mut self, culprits: &[Culprit], now: u64) {
        let _ = (culprits, now);
    }
    /// What it has given up and keeps, for spouts.
    fn letters(&self) -> Option<Letters> {
        None
    }
    /// Emits some of what it has given up again.
    fn replay(&mut self, which: &Which) {
        let _ = which;
    }
    /// What processes before this one died of. Called before the first run.
    fn know(&mut self, tallies: &[Tally]) {
        let _ = tallies;
    }
    /// What the next process is to be told by [`TaskCore::know`], if that has changed since the last call.
    fn tallies(&mut self) -> Option<Vec<Tally>> {
        None
    }
    /// Where it says which tuple it is at.
    fn place(&self) -> Option<Place> {
        None
    }
    /// Whether the task may emit roots: a spout, or a bolt that finishes. Other bolts do not care.
    fn set_active(&mut self, active: bool);
    /// Begins another epoch: fails what is pending, drops what is in work and what was emitted of the epoch before.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    fn renew(&mut self, tracking: Tracking) -> Result<(), ComponentError>;
    /// What the task needs to go on elsewhere: a bolt's state, or a spout's position. Empty if there is nothing.
    ///
    /// # Errors
    /// An error of the component; it ends the process.
    fn snapshot(&mut self) -> Result<Vec<u8>, ComponentError>;
    /// Goes on from what [`TaskCore::snapshot`] gave. Called before the first run.
    ///
    /// # Errors
    /// If that is none of this component's.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError>;
    /// Goes on from its part of what the tasks before it kept, of which there was another number; the oldest numbering first.
    /// Called before the first run.
    ///
    /// # Errors
    /// If that is none of this component's.
    fn take_over(&mut self, handed: &[Handed<'_>], part: &Part) -> Result<(), ComponentError>;
    /// Forgets all keys of what was restored but these. Called before the first run.
    fn keep_keys(&mut self, is_own: &dyn Fn(&[u8]) -> bool) {
        let _ = is_own;
    }
    /// Tells a bolt that all its input has ended.
    fn finish(&mut self, ledger: LedgerSettings);
    /// How far the task is on its way to the end.
    fn state(&self) -> TaskState;
    /// What it emitted and has to tell the ledgers.
    fn output(&mut self) -> &mut Output;
    /// Its counts.
    fn counts(&self) -> Counts;
    /// Whether a root of its own is neither acked nor failed.
    fn is_pending(&self, group: GroupId, root: u8) -> bool {
        let _ = (group, root);
        false
    }
    /// Latencies of the acks since the last call.
    fn take_latencies(&mut self) -> Vec<Latency>;
    /// Where the next process would go on, for spouts that know.
    fn position(&self) -> Option<serde_json::Value>;
    /// Roots that were acked since [`TaskCore::saved`]. What was not saved is emitted again after a death, so it counts
    /// as in flight.
    fn unsaved(&self) -> u64;
    /// How many may be acked before the position must be saved.
    fn max_unsaved(&self) -> u64;
    /// The position was saved.
    fn saved(&mut self);
}
