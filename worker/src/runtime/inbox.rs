//! The inbox of a task: frames that wait for it.
//!
//! Invariants: first in, first out per sender; a push always succeeds; the gate counts exactly what is queued.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use waterspout_core::frame::Frame;

use crate::gate::Gate;
use crate::mutation::{Mutation, lacks};
use crate::transport::Origin;

/// Frames after which what feeds an inbox is not started any more.
pub const INBOX_FRAMES: usize = 8;
/// Bytes after which what feeds an inbox is not started any more.
pub const INBOX_BYTES: usize = 1 << 20;

/// A frame with where it came from.
#[derive(Debug)]
pub struct Delivery {
    /// The frame.
    pub frame: Frame,
    /// The epoch that it belongs to.
    pub epoch: u64,
    /// The connection that it came by, which gets credit back; `None` from a task of this worker.
    pub from: Option<Origin>,
}

/// Frames that wait for one task.
pub struct Inbox {
    queue: Mutex<VecDeque<Delivery>>,
    gate: Arc<Gate>,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Self {
            queue: Mutex::default(),
            gate: Arc::new(Gate::new(INBOX_FRAMES, INBOX_BYTES)),
        }
    }

    /// What tells feeders that it is full.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Appends a frame.
    pub fn push(&self, delivery: Delivery) {
        self.gate.add(1, delivery.frame.weight());
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(delivery);
    }

    /// Takes the oldest frame, unless it is of an epoch after `epoch`: then the task is about to hear of that one.
    pub fn pop(&self, epoch: u64) -> Option<Delivery> {
        let delivery = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front_if(|delivery| delivery.epoch <= epoch || lacks(Mutation::NoFence))?;
        self.gate.remove(1, delivery.frame.weight());
        Some(delivery)
    }
}
