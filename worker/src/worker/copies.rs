//! Copies of what tasks keep, on their way from worker to worker.
//!
//! Owns: the copies that are here, cutting them into parts and putting them together, which of them a task starts with. Leaves to others: when one is made,
//! sent and dropped ([`super::epochs`]). Invariant: parts come in order; one that does not fit begins nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use waterspout_core::epoch::{Ballot, CopyId, Epoch, Installation, PlanHead};

use super::control::CopyPart;
use crate::runtime::Start;
use crate::task::Handed;
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
    fn get(&self, copy: CopyId) -> Option<&[u8]> {
        self.here.get(&copy).map(AsRef::as_ref)
    }

    /// What a task of a plan starts with.
    pub(super) fn start(&self, head: &PlanHead, installation: &Installation) -> Start<'_> {
        let task = installation.task;
        let is_own = |copy: &&CopyId| (copy.task, copy.since) == (task, head.numbers.since);
        match installation.copies.iter().find(is_own) {
            Some(&copy) => Start::State(self.get(copy).unwrap_or_default()),
            None if installation.copies.is_empty() => Start::Kept,
            None => self.start_of_parents(head, installation),
        }
    }

    /// What a task starts with whose parents were numbered in another way.
    fn start_of_parents(&self, head: &PlanHead, installation: &Installation) -> Start<'_> {
        let place = head.numbers.place_of(installation.task);
        let tasks = place.map_or(0, |(component, _)| head.numbers.of[component]);
        let handed = installation.copies.iter().filter_map(|&copy| {
            let mut ancestors = head.ancestors.iter();
            let numbers = &ancestors.find(|known| known.numbers.since == copy.since)?.numbers;
            let (component, index) = numbers.place_of(copy.task)?;
            Some(Handed {
                since: copy.since.0,
                index,
                of: numbers.of[component],
                state: self.get(copy).filter(|state| !state.is_empty())?,
            })
        });
        let handed: Vec<Handed<'_>> = handed.collect();
        match handed.last() {
            // As many as now: it is the same task under another number.
            Some(last) if handed.iter().all(|one| one.of == tasks) => Start::State(last.state),
            _ => Start::Part(handed),
        }
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
