//! Copies of what tasks keep, on their way from worker to worker.
//!
//! Owns: the copies that are here, cutting them into parts and putting them together. Leaves to others: when one is made,
//! sent and dropped ([`super::epochs`]). Invariant: parts come in order; one that does not fit begins nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use waterspout_core::epoch::{Ballot, CopyId, Epoch};

use super::control::CopyPart;
use crate::transport::PeerId;

/// Bytes of a copy that go in one message.
const PART: usize = 1 << 20;

/// A copy that comes in parts.
struct Incoming {
    from: PeerId,
    copy: CopyId,
    bytes: Vec<u8>,
}

/// The copies that are here, and those that are coming.
#[derive(Default)]
pub(super) struct Copies {
    here: BTreeMap<CopyId, Arc<[u8]>>,
    incoming: Vec<Incoming>,
}

impl Copies {
    pub(super) fn get(&self, copy: CopyId) -> Option<&[u8]> {
        self.here.get(&copy).map(AsRef::as_ref)
    }

    pub(super) fn keep(&mut self, copy: CopyId, state: Arc<[u8]>) {
        self.here.insert(copy, state);
    }

    pub(super) fn drop_through(&mut self, epoch: Epoch) {
        self.here.retain(|copy, _| copy.tag.epoch > epoch);
    }

    pub(super) fn drop_all(&mut self) {
        self.here.clear();
    }

    /// The parts of a copy; an empty one has a part, too. Nothing if the copy is not here.
    pub(super) fn parts(&self, copy: CopyId, ballot: Ballot) -> Vec<CopyPart> {
        let Some(state) = self.here.get(&copy) else {
            return Vec::new();
        };
        let starts = (0..state.len().max(1)).step_by(PART);
        starts
            .map(|start| {
                let end = state.len().min(start + PART);
                CopyPart {
                    ballot,
                    copy,
                    offset: start as u64,
                    is_last: end == state.len(),
                    bytes: state[start..end].to_vec(),
                }
            })
            .collect()
    }

    /// Takes in a part. Whether the copy is here as a whole.
    pub(super) fn take(&mut self, from: PeerId, part: &CopyPart) -> bool {
        let known = self
            .incoming
            .iter()
            .position(|incoming| incoming.from == from && incoming.copy == part.copy);
        let mut incoming = match known {
            Some(at) => self.incoming.swap_remove(at),
            None => Incoming {
                from,
                copy: part.copy,
                bytes: Vec::new(),
            },
        };
        if part.offset == 0 {
            incoming.bytes.clear();
        }
        if part.offset != incoming.bytes.len() as u64 {
            return false;
        }
        incoming.bytes.extend_from_slice(&part.bytes);
        if !part.is_last {
            self.incoming.push(incoming);
            return false;
        }
        self.here.insert(part.copy, incoming.bytes.into());
        true
    }

    /// Forgets the parts of a peer that is gone: it sends them again.
    pub(super) fn forget_parts(&mut self, from: PeerId) {
        self.incoming.retain(|incoming| incoming.from != from);
    }
}
