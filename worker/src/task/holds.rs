//! The tuples that a bolt holds.
//!
//! Owns: who holds what, and which roots of which input frames are not acked because of it. Leaves to others: telling
//! the ledgers ([`super::Output`]).
//!
//! A frame's id was registered once for each of its roots, however many rows of a root it has. So a root of a frame is
//! acked once: when none of its rows is held any more and the frame has ended.

use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;
use waterspout_core::frame::{Frame, GroupId, RootBits, Roots};

use crate::component::{Dropped, Held, Patience};

/// A root.
pub(super) type Root = (GroupId, u8);

/// A held tuple.
#[derive(Debug)]
pub(super) struct Hold {
    /// The input frame that it came in.
    pub(super) frame: u64,
    /// Its roots.
    pub(super) roots: Vec<Root>,
    patience: Patience,
}

/// The tuples that one bolt task holds.
#[derive(Debug, Default)]
pub(super) struct Holds {
    next_ticket: u64,
    held: FxHashMap<u64, Hold>,
    /// How many rows of a root of a frame are held.
    rows: FxHashMap<(u64, Root), u32>,
    dropped: Arc<Dropped>,
}

impl Holds {
    /// How many tuples are held.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Holds a tuple of `frame`.
    pub(super) fn hold(&mut self, frame: u64, tuple: Roots<'_>, patience: Patience) -> Held {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let mut roots = Vec::new();
        tuple.each(|group, root| roots.push((group, root)));
        for &root in &roots {
            *self.rows.entry((frame, root)).or_default() += 1;
        }
        let hold = Hold {
            frame,
            roots,
            patience,
        };
        self.held.insert(ticket, hold);
        Held::new(ticket, Arc::clone(&self.dropped))
    }

    /// A held tuple; `None` if it is of an epoch that has ended.
    pub(super) fn get(&self, ticket: u64) -> Option<&Hold> {
        self.held.get(&ticket)
    }

    /// Lets go of a tuple. `free` hears of the roots of its frame that nothing holds any more.
    pub(super) fn release(&mut self, ticket: u64, mut free: impl FnMut(Root)) -> Option<Hold> {
        let hold = self.held.remove(&ticket)?;
        for &root in &hold.roots {
            if let Some(rows) = self.rows.get_mut(&(hold.frame, root)) {
                *rows -= 1;
                if *rows == 0 {
                    self.rows.remove(&(hold.frame, root));
                    free(root);
                }
            }
        }
        Some(hold)
    }

    /// A tuple that was dropped and is still held here.
    pub(super) fn next_dropped(&mut self) -> Option<u64> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes the roots of `frame` that are held out of `roots`, which are in the order of its groups.
    pub(super) fn exclude(&self, frame: &Frame, roots: &mut [RootBits]) {
        if self.rows.is_empty() {
            return;
        }
        for (held, roots) in frame.groups.iter().zip(roots) {
            for root in 0..=255u8 {
                let (word, bit) = (usize::from(root >> 6), 1u64 << (root & 63));
                if roots[word] & bit != 0 && self.rows.contains_key(&(frame.id, (held.group, root))) {
                    roots[word] &= !bit;
                }
            }
        }
    }

    /// The roots whose time-out is to begin anew by itself, each once.
    pub(super) fn renewed(&self) -> Vec<Root> {
        let renewed = self
            .held
            .values()
            .filter(|hold| hold.patience == Patience::Renewed);
        let mut roots: Vec<Root> = renewed.flat_map(|hold| hold.roots.iter().copied()).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Forgets all: their roots were failed, and emitted again. True if there were some.
    pub(super) fn clear(&mut self) -> bool {
        let were_some = !self.held.is_empty();
        self.held.clear();
        self.rows.clear();
        were_some
    }
}
