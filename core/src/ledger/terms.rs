//! What a ledger is told, and what it tells of roots.

use crate::frame::{GroupId, RootBits};

/// Roots of a group.
pub const GROUP: usize = 256;

/// What a spout task's ledger is told once.
#[derive(Debug, Clone, Copy)]
pub struct LedgerSettings {
    /// The spout's task.
    pub spout: u32,
    /// The life of its process.
    pub life: u32,
    /// A root that is not done after so many microseconds is failed.
    pub timeout_micros: u64,
    /// Most roots that may be pending.
    pub max_pending: usize,
    /// Most bytes of rows that pending roots may have been emitted with.
    pub max_pending_bytes: usize,
}

/// What became of roots, in terms of the spout's own message ids.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Message ids of roots that are done.
    pub acked: Vec<u64>,
    /// For runs of `acked` in order: how many, and the time from emit to ack in microseconds.
    pub latencies: Vec<(u32, u64)>,
    /// Message ids of roots that a task failed.
    pub failed: Vec<u64>,
    /// Message ids of roots that something was lost of, with a worker or an epoch.
    pub lost: Vec<u64>,
    /// Message ids of roots that took too long.
    pub timed_out: Vec<u64>,
}

impl Outcome {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.acked.is_empty() && self.failed.is_empty() && self.lost.is_empty() && self.timed_out.is_empty()
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.acked.clear();
        self.latencies.clear();
        self.failed.clear();
        self.lost.clear();
        self.timed_out.clear();
    }
}

impl LedgerSettings {
    /// Most groups that a ledger has, as long as its spout asks it for room.
    pub fn max_groups(&self) -> usize {
        self.max_pending.div_ceil(GROUP) * 4 + 64
    }
}

/// A group whose roots are pending, with what became of it.
#[derive(Debug, Clone, Copy)]
pub struct PendingGroup<'a> {
    /// The group.
    pub group: GroupId,
    /// Those of its roots that are pending.
    pub roots: RootBits,
    /// The message ids of all its roots.
    pub messages: &'a [u64],
}
