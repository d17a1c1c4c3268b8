//! The open frames of a task: rows that are emitted and not shipped yet.
//!
//! Owns: one frame per (stream, consumer, task of it), when it is shipped, its registrations. Leaves to others: which of
//! them a row goes into ([`super::Output`]). Invariant: entries are in the order in which they must travel.

use waterspout_core::frame::{Frame, FrameBuilder, GroupId, RootBits};
use waterspout_core::ledger::{Change, LedgerEntry};

/// How far back an entry looks for one with the same roots to merge with.
const MERGE_REACH: usize = 12;

/// A frame that is on its way to a task.
#[derive(Debug)]
pub struct Shipped {
    /// The task it goes to.
    pub target: u32,
    /// The frame.
    pub frame: Frame,
}

/// Random ids of frames.
#[derive(Debug)]
struct Ids(u64);

impl Ids {
    /// Source: SplitMix64, Steele, Lea and Flood 2014.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[derive(Debug)]
struct OpenFrame {
    builder: FrameBuilder,
    target: u32,
    /// Has rows since the last [`OpenFrames::register_all`].
    touched: bool,
}

/// The open frames of one task.
#[derive(Debug)]
pub(super) struct OpenFrames {
    frames: Vec<OpenFrame>,
    touched: Vec<usize>,
    ids: Ids,
    /// Frames to deliver, in order.
    pub(super) shipped: Vec<Shipped>,
    /// Entries to deliver, in order.
    pub(super) entries: Vec<LedgerEntry>,
    /// Where the entries of the input frame at hand begin in `entries`.
    first_entry: usize,
    /// Bytes of rows in all.
    pub(super) bytes: u64,
    /// When the oldest open frame got its first row, in microseconds; `u64::MAX` if all are empty.
    pub(super) opened_at: u64,
    pub(super) now: u64,
    /// Whether this task tells the ledgers of its frames through `entries`. A task that emits roots tells its own
    /// ledger at once instead.
    pub(super) registers: bool,
}

impl OpenFrames {
    /// No frames yet. `seed` must be random: frames of all tasks share one space of ids.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            frames: Vec::new(),
            touched: Vec::new(),
            ids: Ids(seed),
            shipped: Vec::new(),
            entries: Vec::new(),
            first_entry: 0,
            bytes: 0,
            opened_at: u64::MAX,
            now: 0,
            registers: true,
        }
    }

    /// Adds a frame of `stream` from task `source` to task `target`; the first one's position if there are more.
    pub(super) fn add(&mut self, stream: u16, source: u32, target: u32) {
        self.frames.push(OpenFrame {
            builder: FrameBuilder::new(self.ids.next(), stream, source),
            target,
            touched: false,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The task that a frame goes to.
    pub(super) fn target(&self, index: usize) -> u32 {
        self.frames.get(index).map_or(0, |open| open.target)
    }

    /// Puts a row into a frame, by `push`, and ships the frame if it is full.
    #[inline(always)]
    pub(super) fn put(&mut self, index: usize, row: &[u8], push: &mut impl FnMut(&mut FrameBuilder, &[u8])) {
        let slot = &mut self.frames[index];
        self.bytes += row.len() as u64;
        if slot.builder.is_empty() {
            self.opened_at = self.opened_at.min(self.now);
        }
        push(&mut slot.builder, row);
        self.grew(index);
    }

    /// The bytes of an open frame, to append a row to; [`OpenFrames::end_row`] is to follow.
    #[inline(always)]
    pub(super) fn data_mut(&mut self, index: usize) -> &mut Vec<u8> {
        self.frames[index].builder.data_mut()
    }

    /// The bytes of an open frame.
    #[inline]
    pub(super) fn data(&self, index: usize) -> &[u8] {
        self.frames[index].builder.data()
    }

    /// Makes a row of the `bytes` bytes that were appended to a frame, and ships the frame if it is full. `anchor` gets the
    /// frame's id, and gives the root that the row belongs to.
    #[inline(always)]
    pub(super) fn end_row(
        &mut self,
        index: usize,
        bytes: usize,
        anchor: impl FnOnce(u64) -> Option<(GroupId, u8)>,
    ) {
        let slot = &mut self.frames[index];
        if slot.builder.is_empty() {
            self.opened_at = self.opened_at.min(self.now);
        }
        self.bytes += bytes as u64;
        slot.builder.end_row();
        if let Some((group, root)) = anchor(slot.builder.id()) {
            slot.builder.belong(group, root);
        }
        self.grew(index);
    }

    /// A row came into a frame.
    #[inline(always)]
    fn grew(&mut self, index: usize) {
        let slot = &mut self.frames[index];
        if slot.builder.is_full() {
            if self.registers {
                register(slot, &mut self.entries);
            }
            self.shipped.push(Shipped {
                target: slot.target,
                frame: slot.builder.ship(self.ids.next()),
            });
        } else if self.registers && !slot.touched {
            slot.touched = true;
            self.touched.push(index);
        }
    }

    /// An input frame begins.
    pub(super) fn begin_frame(&mut self) {
        self.first_entry = self.entries.len();
    }

    /// Registers what was emitted since the last time.
    pub(super) fn register_all(&mut self) {
        for index in self.touched.drain(..) {
            let slot = &mut self.frames[index];
            slot.touched = false;
            register(slot, &mut self.entries);
        }
    }

    /// Acks roots of an input frame. What was emitted for it is registered already.
    ///
    /// It may merge into the *last* registration of the group only. Were another one behind it, a root of that one
    /// could come to zero in between: the frame registered first may have been acked already.
    pub(super) fn ack(&mut self, group: GroupId, roots: RootBits, id: u64) {
        let behind = self.entries.len() - self.first_entry;
        let last = self
            .entries
            .iter_mut()
            .rev()
            .take(behind.min(MERGE_REACH))
            .find(|entry| entry.group == group);
        match last {
            Some(LedgerEntry {
                roots: known,
                change: Change::Xor(sum),
                ..
            }) if *known == roots => *sum ^= id,
            _ => self.entries.push(LedgerEntry {
                group,
                roots,
                change: Change::Xor(id),
            }),
        }
    }

    /// Tells the ledger of one root.
    pub(super) fn tell(&mut self, (group, root): (GroupId, u8), change: Change) {
        let mut roots = [0; 4];
        roots[usize::from(root >> 6)] = 1 << (root & 63);
        self.entries.push(LedgerEntry { group, roots, change });
    }

    /// The entries were delivered.
    pub(super) fn clear_entries(&mut self) {
        self.entries.clear();
        self.first_entry = 0;
    }

    /// Drops all that was emitted and not delivered.
    pub(super) fn reset(&mut self) {
        self.flush();
        self.shipped.clear();
        self.clear_entries();
        for index in self.touched.drain(..) {
            self.frames[index].touched = false;
        }
    }

    /// Ships every open frame.
    pub(super) fn flush(&mut self) {
        if self.opened_at == u64::MAX {
            return;
        }
        self.opened_at = u64::MAX;
        for slot in &mut self.frames {
            if !slot.builder.is_empty() {
                if self.registers {
                    register(slot, &mut self.entries);
                }
                self.shipped.push(Shipped {
                    target: slot.target,
                    frame: slot.builder.ship(self.ids.next()),
                });
            }
        }
    }
}

/// Tells the ledgers of the roots that came into an open frame since they were told last.
fn register(slot: &mut OpenFrame, entries: &mut Vec<LedgerEntry>) {
    let id = slot.builder.id();
    slot.builder.take_unregistered(|group, roots| {
        entries.push(LedgerEntry {
            group,
            roots,
            change: Change::Xor(id),
        });
    });
}
