//! Frames: the only form in which tuples exist between a task's emit and the next task's read.
//!
//! Owns: [`Frame`], how it is filled ([`FrameBuilder`]) and its form on the wire. Leaves to others: routing, queues,
//! what the ledger does with lineage.
//!
//! A frame belongs to one stream and one receiving task. Its rows lie one behind the other in `data`. In a tracked
//! frame each row also has a lineage: which group of roots it comes from, and which root in it.

mod build;
pub mod wire;

pub use build::FrameBuilder;

use crate::value::Row;

/// A group of up to 256 roots of one life of one spout task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// The spout's task.
    pub spout: u32,
    /// The life of the spout's process, so that what is meant for a former life never hits a slot of this one.
    pub life: u32,
    /// The number of the group in this life.
    pub sequence: u64,
}

/// A set of roots of one group: bit `i % 64` of word `i / 64` is root `i`.
pub type RootBits = [u64; 4];

/// The roots of one group that have rows in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameGroup {
    /// The group.
    pub group: GroupId,
    /// Its roots that have at least one row in the frame.
    pub roots: RootBits,
}

/// Most rows of a frame.
pub const MAX_ROWS: usize = 512;
/// A frame is shipped once its rows take this many bytes; one row more than that still fits.
pub const FULL_BYTES: usize = 32 << 10;
/// Most groups of a frame.
pub const MAX_GROUPS: usize = 250;

/// Rows of one stream on their way to one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Random; what the ledger XORs.
    pub id: u64,
    /// The stream that the rows belong to (a `StreamId`).
    pub stream: u16,
    /// The task that emitted the rows.
    pub source: u32,
    /// The rows, one behind the other.
    pub data: Vec<u8>,
    /// Where each row ends in `data`, in bytes; as many as there are rows.
    pub ends: Vec<u32>,
    /// For each row `group ordinal << 8 | root`, the ordinal being a position in `groups`; empty if not tracked.
    pub lineage: Vec<u16>,
    /// The groups that the rows come from; empty if not tracked.
    pub groups: Vec<FrameGroup>,
}

impl Frame {
    /// How many rows there are.
    #[inline]
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Row `index`, which must be below [`Frame::rows`].
    #[inline]
    pub fn row(&self, index: usize) -> Row<'_> {
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        Row::new(&self.data[start..self.ends[index] as usize])
    }

    /// About how much memory the frame takes, in bytes: what queues count.
    #[inline]
    pub fn weight(&self) -> usize {
        self.data.len()
            + 4 * self.ends.len()
            + 2 * self.lineage.len()
            + size_of::<FrameGroup>() * self.groups.len()
            + size_of::<Self>()
    }
}
