//! What waits to be sent to one other worker, and what is in flight to it.
//!
//! Invariants: ledger messages stay until they are confirmed; the gate of a task counts the frames that wait for it and
//! those in flight to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use waterspout_core::credit::CreditSender;
use waterspout_core::frame::{Frame, wire};
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::link::LinkSender;

use super::{PeerId, TransportConfig};
use crate::gate::Gate;

/// Most ledger entries whose memory is kept for the next ones.
const KEPT_ENTRIES: usize = 4096;

/// A ledger message: one or more inputs' entries, never part of one, or a notice.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    Entries(Bytes),
    Lost(PeerId),
}

#[derive(Default)]
pub(super) struct State {
    /// The epoch of the frames.
    pub(super) epoch: u64,
    pub(super) frames: VecDeque<(u32, Frame)>,
    /// Frames of the epoch that went, or wait to go, to `known`.
    pub(super) sent: u64,
    pub(super) tasks: BTreeMap<u32, Towards>,
    /// Entries that are not in a message yet.
    pub(super) entries: Vec<LedgerEntry>,
    pub(super) link: LinkSender<Payload>,
    pub(super) control: VecDeque<Vec<u8>>,
    /// Whom the link's numbers are for.
    pub(super) known: Option<PeerId>,
    pub(super) up: Option<PeerId>,
    /// The life of the peer that frames may go to.
    pub(super) allowed: Option<PeerId>,
    pub(super) losses: u64,
    /// Frames that were handed to the connection, and their bytes, in all.
    pub(super) sent_in_all: (u64, u64),
}

/// The way to one task of the peer.
pub(super) struct Towards {
    pub(super) gate: Arc<Gate>,
    pub(super) credit: CreditSender,
}

impl State {
    pub(super) fn towards(&mut self, target: u32, config: &TransportConfig) -> &mut Towards {
        self.tasks.entry(target).or_insert_with(|| Towards {
            gate: Arc::new(Gate::new(config.window_frames, config.window_bytes)),
            credit: CreditSender::default(),
        })
    }

    /// Puts the entries that wait into one message.
    pub(super) fn close_entries(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        wire::encode_entries(&self.entries, &mut bytes);
        if self.entries.len() > KEPT_ENTRIES {
            self.entries = Vec::new();
        } else {
            self.entries.clear();
        }
        self.link.push(Payload::Entries(bytes.into()));
    }

    /// Begins an epoch: what waits of the one before is dropped, its roots are failed.
    pub(super) fn begin(&mut self, epoch: u64) {
        self.drop_frames();
        self.epoch = epoch;
        self.sent = 0;
        self.allowed = None;
        self.entries.clear();
    }

    fn drop_frames(&mut self) {
        for (target, frame) in self.frames.drain(..) {
            if let Some(towards) = self.tasks.get(&target) {
                towards.gate.remove(1, frame.weight());
            }
        }
    }

    /// Writes off what was in flight, and drops the frames that wait: their roots are failed anyway.
    pub(super) fn close(&mut self) {
        self.up = None;
        self.losses += 1;
        self.control.clear();
        self.drop_frames();
        for towards in self.tasks.values_mut() {
            let (frames, bytes) = towards.credit.reset();
            towards.gate.remove(frames as usize, bytes as usize);
        }
    }
}
