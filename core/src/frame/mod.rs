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

/// The roots of a row that has several: for each, its group's position in [`Frame::groups`], and which root in it.
pub type Bundle = Vec<(u16, u8)>;

/// A lineage from here on means a row with several roots: the lineage less this is a position in [`Frame::bundles`].
pub const BUNDLES: u16 = 251 << 8;
/// Most groups of a frame whose last row has several roots.
pub const MAX_BUNDLE_GROUPS: usize = 60_000;

/// The roots that a row belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// None: it is not tracked.
    None,
    /// One.
    One(GroupId, u8),
    /// Several, in this frame's groups.
    Several(&'a [FrameGroup], &'a [(u16, u8)]),
}

impl Roots<'_> {
    /// Calls `visit` with each root.
    pub fn each(self, mut visit: impl FnMut(GroupId, u8)) {
        match self {
            Self::None => {}
            Self::One(group, root) => visit(group, root),
            Self::Several(groups, bundle) => {
                for &(ordinal, root) in bundle {
                    visit(groups[usize::from(ordinal)].group, root);
                }
            }
        }
    }
}

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
    /// For each row `group ordinal << 8 | root`, the ordinal being a position in `groups`, or [`BUNDLES`] and a position
    /// in `bundles`; empty if not tracked.
    pub lineage: Vec<u16>,
    /// The roots of the rows that have several, in the order of these rows.
    pub bundles: Vec<Bundle>,
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

    /// The roots of row `index`, which must be below [`Frame::rows`].
    #[inline]
    pub fn roots(&self, index: usize) -> Roots<'_> {
        match self.lineage.get(index) {
            None => Roots::None,
            Some(&lineage) if lineage < BUNDLES => {
                Roots::One(self.groups[usize::from(lineage >> 8)].group, lineage as u8)
            }
            Some(&lineage) => Roots::Several(&self.groups, &self.bundles[usize::from(lineage - BUNDLES)]),
        }
    }

    /// About how much memory the frame takes, in bytes: what queues count.
    #[inline]
    pub fn weight(&self) -> usize {
        self.data.len()
            + 4 * self.ends.len()
            + 2 * self.lineage.len()
            + size_of::<FrameGroup>() * self.groups.len()
            + self
                .bundles
                .iter()
                .map(|bundle| 4 * bundle.len() + size_of::<Bundle>())
                .sum::<usize>()
            + size_of::<Self>()
    }
}
