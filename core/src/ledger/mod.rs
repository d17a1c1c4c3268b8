//! The ledger: which roots are done. Storm's XOR algorithm, paid per frame and exact per root.
//!
//! Owns: the accumulators of one spout task ([`Ledger`]) and the entries that tasks send to it ([`LedgerEntry`]).
//! Leaves to others: how entries travel ([`crate::link`]), what a spout does with an ack.
//!
//! A root has an accumulator. Every frame that carries rows of the root XORs its random id in twice: once when the
//! frame is *registered* by the task that filled it, once when it is *acked* by the task that worked it off. Zero
//! means that every registered frame was acked. Nobody may be able to see a zero too early, hence the rule:
//! **a task's registrations of what it emitted go before, or with, its ack of the input they came from**, on one
//! sequence per (task, spout) that loses nothing and repeats nothing. Acks may overtake registrations of others.
//!
//! Source: "Storm's acker" (apache/storm, daemon/Acker.java), with one random number per frame and not per tuple.

mod groups;
mod terms;

pub use groups::Ledger;
pub use terms::{GROUP, LedgerSettings, Outcome, PendingGroup};

use crate::frame::{GroupId, RootBits};

/// What a task tells a spout's ledger about some roots of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The group.
    pub group: GroupId,
    /// The roots that it is about.
    pub roots: RootBits,
    /// What happened to them.
    pub change: Change,
}

/// What happened to a set of roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// XOR into the accumulators: the id of a frame that was registered or acked, or several of them XORed.
    Xor(u64),
    /// A task failed a tuple of these roots.
    Fail,
    /// A task is still at work on a tuple of these roots: their time begins anew.
    Renew,
}
