//! Fills a frame row by row.

use crate::value::append_small;

use super::{BUNDLES, Bundle, FULL_BYTES, Frame, FrameGroup, GroupId, MAX_GROUPS, MAX_ROWS, RootBits};

/// A frame that is being filled.
///
/// Besides the rows it remembers which of its roots the ledger has heard of, so that a builder that stays open
/// over several input frames registers each root once.
#[derive(Debug)]
pub struct FrameBuilder {
    frame: Frame,
    registered: Vec<RootBits>,
}

impl FrameBuilder {
    /// An empty frame of `stream`, emitted by task `source`, with a random `id`.
    pub fn new(id: u64, stream: u16, source: u32) -> Self {
        Self {
            frame: Frame {
                id,
                stream,
                source,
                data: Vec::new(),
                ends: Vec::new(),
                lineage: Vec::new(),
                bundles: Vec::new(),
                groups: Vec::new(),
            },
            registered: Vec::new(),
        }
    }

    /// The frame's random id.
    #[inline]
    pub fn id(&self) -> u64 {
        self.frame.id
    }

    /// Whether there is no row yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frame.ends.is_empty()
    }

    /// Whether the frame should be shipped.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.frame.ends.len() >= MAX_ROWS
            || self.frame.data.len() >= FULL_BYTES
            || self.frame.groups.len() >= MAX_GROUPS
    }

    /// Appends an encoded row that no root is waiting for.
    #[inline]
    pub fn push_untracked(&mut self, row: &[u8]) {
        append_small(&mut self.frame.data, row);
        self.end_row();
    }

    /// Where the bytes of the next row are appended; [`FrameBuilder::end_row`] is to follow.
    #[inline]
    pub fn data_mut(&mut self) -> &mut Vec<u8> {
        &mut self.frame.data
    }

    /// The bytes of the rows so far, and of what was appended behind them.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.frame.data
    }

    /// Makes a row of what was appended to [`FrameBuilder::data_mut`]. It belongs to no root before
    /// [`FrameBuilder::belong`] was called.
    #[inline]
    pub fn end_row(&mut self) {
        self.frame.ends.push(self.frame.data.len() as u32);
    }

    /// Appends an encoded row that belongs to root `root` of `group`. True if the frame had no row of it.
    #[inline]
    pub fn push(&mut self, row: &[u8], group: GroupId, root: u8) -> bool {
        self.push_untracked(row);
        self.belong(group, root)
    }

    /// Lets the row that was appended last belong to root `root` of `group`. True if the frame had no row of it.
    #[inline(always)]
    pub fn belong(&mut self, group: GroupId, root: u8) -> bool {
        let ordinal = match self.frame.groups.last() {
            Some(last) if last.group == group => self.frame.groups.len() - 1,
            _ => self.ordinal(group),
        };
        self.frame.lineage.push((ordinal as u16) << 8 | u16::from(root));
        let word = &mut self.frame.groups[ordinal].roots[usize::from(root >> 6)];
        let bit = 1u64 << (root & 63);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Appends an encoded row that belongs to several roots, of at most [`super::MAX_BUNDLE_GROUPS`] groups.
    pub fn push_several(&mut self, row: &[u8], roots: &[(GroupId, u8)]) {
        self.push_untracked(row);
        let mut bundle = Bundle::with_capacity(roots.len());
        for &(group, root) in roots {
            let ordinal = self.ordinal(group);
            self.frame.groups[ordinal].roots[usize::from(root >> 6)] |= 1 << (root & 63);
            bundle.push((ordinal as u16, root));
        }
        self.frame.lineage.push(BUNDLES + self.frame.bundles.len() as u16);
        self.frame.bundles.push(bundle);
    }

    #[cold]
    fn ordinal(&mut self, group: GroupId) -> usize {
        let known = self.frame.groups.iter().rposition(|known| known.group == group);
        known.unwrap_or_else(|| {
            self.frame.groups.push(FrameGroup { group, roots: [0; 4] });
            self.registered.push([0; 4]);
            self.frame.groups.len() - 1
        })
    }

    /// Calls `register` with each group and its roots that were not given to an earlier call.
    pub fn take_unregistered(&mut self, mut register: impl FnMut(GroupId, RootBits)) {
        for (held, registered) in self.frame.groups.iter().zip(&mut self.registered) {
            let mut new = [0; 4];
            for word in 0..4 {
                new[word] = held.roots[word] & !registered[word];
            }
            if new != [0; 4] {
                *registered = held.roots;
                register(held.group, new);
            }
        }
    }

    /// Ends this frame and goes on with an empty one under `next_id`.
    pub fn ship(&mut self, next_id: u64) -> Frame {
        self.registered.clear();
        let next = Self::new(next_id, self.frame.stream, self.frame.source);
        let mut shipped = std::mem::replace(&mut self.frame, next.frame);
        // The next frame will most likely be as large as this one was.
        self.frame.ends.reserve_exact(shipped.ends.len());
        self.frame.lineage.reserve_exact(shipped.lineage.len());
        self.frame
            .data
            .reserve_exact(shipped.data.len().min(FULL_BYTES + 1024));
        if shipped.data.capacity() > 2 * shipped.data.len() {
            shipped.data.shrink_to_fit();
        }
        shipped
    }
}
