//! What components emit through, and what a bolt does about the tuples it was given.
//!
//! Owns: the traits [`Emit`] and [`EmitRoot`], and [`Held`] tuples. Leaves to others: how it is done ([`crate::task`]).

use std::sync::{Arc, Mutex, PoisonError};

use waterspout_core::value::RowWriter;

use super::ComponentError;

/// How long a held tuple may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as the bolt likes: the time-out of its root begins anew again and again while it is held.
    Renewed,
    /// Until the time-out of its root, unless the bolt calls [`Emit::renew`].
    TimesOut,
}

/// A tuple that a bolt has not acked when its call returned.
///
/// It is acked by [`Emit::ack`] and failed by [`Emit::fail_held`]. One that is dropped is failed.
#[derive(Debug)]
#[must_use = "a held tuple that is dropped is failed"]
pub struct Held {
    pub(crate) ticket: u64,
    dropped: Option<Arc<Dropped>>,
}

/// Tickets of held tuples that were dropped.
pub(crate) type Dropped = Mutex<Vec<u64>>;

impl Held {
    pub(crate) fn new(ticket: u64, dropped: Arc<Dropped>) -> Self {
        Self {
            ticket,
            dropped: Some(dropped),
        }
    }

    /// Its ticket, without failing it.
    pub(crate) fn take(mut self) -> u64 {
        self.dropped = None;
        self.ticket
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(self.ticket);
        }
    }
}

/// Where a bolt emits to, and what it says of its input. Nothing here blocks.
///
/// Within [`super::Bolt::execute`] there is a tuple at hand: emits are anchored to it, and it is acked by itself after
/// the call, unless it was held. In [`super::Bolt::tick`] there is none. In [`super::Bolt::finish`] what is emitted is
/// tracked by the bolt itself.
pub trait Emit {
    /// Emits to the `stream`-th output stream of the manifest, anchored to the tuple at hand.
    ///
    /// # Errors
    /// If the row has another number of fields than the stream declares, or the stream is direct.
    fn emit(&mut self, stream: usize, row: impl FnOnce(&mut RowWriter<'_>)) -> Result<(), ComponentError>;

    /// Emits to task `task`, by its number in the topology, on a stream that is declared with `direct: true`.
    ///
    /// [`super::Context::outputs`] has the numbers of the tasks that read it; [`super::Tuple::source`] is such a number,
    /// too.
    ///
    /// # Errors
    /// If the row has another number of fields than the stream declares, the stream is not direct, or the task does not
    /// read it.
    fn emit_direct(
        &mut self,
        stream: usize,
        task: u32,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Emits a tuple that belongs to no root: if it is lost, nobody hears of it.
    ///
    /// # Errors
    /// As [`Emit::emit`].
    fn emit_unanchored(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Emits a tuple that belongs to the roots of several held tuples, and not to the one at hand unless that is one of
    /// them. If it fails, they all do.
    ///
    /// # Errors
    /// As [`Emit::emit`], or if these are more than 60,000 roots.
    fn emit_anchored(
        &mut self,
        anchors: &[&Held],
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Fails the tuple at hand: its root is emitted again, as often as `delivery.maxAttempts` says.
    fn fail(&mut self);

    /// Holds the tuple at hand: it is not acked when the call returns.
    fn hold(&mut self, patience: Patience) -> Held;

    /// Acks a held tuple.
    fn ack(&mut self, held: Held);

    /// Fails a held tuple.
    fn fail_held(&mut self, held: Held);

    /// Lets the time-out of a held tuple's roots begin anew.
    fn renew(&mut self, held: &Held);
}

/// Where a spout emits to. Emitting never blocks.
pub trait EmitRoot {
    /// Emits a root with the spout's own message id, which comes back in [`super::Spout::ack`] or
    /// [`super::Spout::fail`], once.
    ///
    /// # Errors
    /// If the row has another number of fields than the stream declares, or the stream is direct.
    fn emit_root(
        &mut self,
        stream: usize,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Emits a root to task `task` on a direct stream; see [`Emit::emit_direct`].
    ///
    /// # Errors
    /// If the row has another number of fields than the stream declares, the stream is not direct, or the task does not
    /// read it.
    fn emit_root_direct(
        &mut self,
        stream: usize,
        task: u32,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Emits a tuple that is no root: if it is lost, nobody hears of it.
    ///
    /// # Errors
    /// As [`EmitRoot::emit_root`].
    fn emit_untracked(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError>;

    /// Emits a root, or a tuple that is none without a message id, and tells which tasks it goes to, as far as that is
    /// known: not where this is a record for tests.
    ///
    /// # Errors
    /// As [`EmitRoot::emit_root`].
    #[doc(hidden)]
    fn emit_root_and_tell(
        &mut self,
        stream: usize,
        message: Option<u64>,
        row: impl FnOnce(&mut RowWriter<'_>),
        _told: &mut Vec<u32>,
    ) -> Result<(), ComponentError> {
        match message {
            Some(message) => self.emit_root(stream, message, row),
            None => self.emit_untracked(stream, row),
        }
    }

    /// How many more roots may be emitted in this call. A spout that goes beyond is not stopped, but is rude.
    fn room(&self) -> usize;
}
