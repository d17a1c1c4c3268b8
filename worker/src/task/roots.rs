//! The roots that a spout emits: into frames, and into the ledger of its task.
//!
//! Owns: what is looked up before a root goes, and the short way of those for which nothing is. Leaves to others: polls, acks
//! and fails ([`super::spout`]).

use waterspout_core::frame::GroupId;
use waterspout_core::ledger::{Ledger, Outcome};
use waterspout_core::value::RowWriter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::attempts::{Attempts, Emission};
use super::output::{Output, RowPlace};
use crate::component::{ComponentError, EmitRoot};
use crate::poison::Keys;

/// Emits roots.
pub(super) struct Roots<'a> {
    pub(super) output: &'a mut Output,
    pub(super) ledger: &'a mut Ledger,
    pub(super) outcome: &'a mut Outcome,
    pub(super) attempts: &'a mut Attempts,
    /// Where the keys of roots are noted one by one: those that are made of their rows.
    pub(super) row_keys: Option<&'a Keys>,
    pub(super) ids_last: bool,
    pub(super) is_tracked: bool,
    /// No root failed lately: there is nothing to look up.
    pub(super) is_plain: bool,
    pub(super) now: u64,
    /// How many bytes the task has emitted in all when the spout is to wait.
    pub(super) stop_at: u64,
}

/// Where a root goes.
enum To<'a> {
    /// As the groupings say.
    Routed,
    /// There, and these are told.
    Told(&'a mut Vec<u32>),
    /// To this task.
    Task(u32),
}

impl Roots<'_> {
    /// Sends the row that was written last, whatever there is to look up.
    #[inline(never)]
    fn send(
        &mut self,
        mut stream: usize,
        mut to: To<'_>,
        message: u64,
        mut bytes: usize,
    ) -> Result<(), ComponentError> {
        let key = if self.ids_last {
            message
        } else {
            row_key(self.output.last_row(), stream)
        };
        if self.attempts.emitted(message, key, self.now) == Emission::Stays {
            return Ok(());
        }
        if self.attempts.keep(message, stream, self.output.last_row()) {
            return Ok(());
        }
        if let Some((letters, row)) = self.attempts.letter(message, stream, self.output.last_row()) {
            self.output.load_row(&row);
            (stream, to, bytes) = (letters, To::Routed, row.len());
        }
        if !self.is_tracked {
            self.outcome.acked.push(message);
            return send(self.output, stream, to, None, |_| {});
        }
        let root = self.ledger.open(message, bytes, self.now);
        if let Some(keys) = self.row_keys {
            keys.note_one(self.ledger.last_place(), root.0.sequence, root.1, key);
        }
        let ledger = &mut *self.ledger;
        let mut went = false;
        let registered = |frame| {
            ledger.register_last(frame);
            went = true;
        };
        send(self.output, stream, to, Some(root), registered)?;
        if !went {
            self.ledger.settle_last(self.now, self.outcome);
        }
        Ok(())
    }
}

/// What a root is known by whose message id does not last.
#[inline]
fn row_key(row: &[u8], stream: usize) -> u64 {
    xxh3_64_with_seed(row, stream as u64)
}

fn send(
    output: &mut Output,
    stream: usize,
    to: To<'_>,
    root: Option<(GroupId, u8)>,
    registered: impl FnMut(u64),
) -> Result<(), ComponentError> {
    match to {
        To::Routed => {
            output.send(stream, root, registered);
            Ok(())
        }
        To::Told(told) => output.send_root_and_tell(stream, root, told, registered),
        To::Task(task) => output.send_direct(stream, task, root, registered),
    }
}

impl EmitRoot for Roots<'_> {
    #[inline]
    fn emit_root(
        &mut self,
        stream: usize,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        let place = if self.is_plain {
            self.output.next_place(stream)
        } else {
            RowPlace::Scratch
        };
        let bytes = self.output.write_at(place, stream, row)?;
        let RowPlace::Frame(frame) = place else {
            return self.send(stream, To::Routed, message, bytes);
        };
        if self.is_tracked {
            let noted = self.row_keys.map(|keys| {
                let row = self.output.row_in(frame, bytes);
                (keys, row_key(row, stream))
            });
            let (ledger, now) = (&mut *self.ledger, self.now);
            self.output.stay(frame, bytes, |id| {
                let root = ledger.open_in(id, message, bytes, now);
                if let Some((keys, key)) = noted {
                    keys.note_one(ledger.last_place(), root.0.sequence, root.1, key);
                }
                Some(root)
            });
        } else {
            self.outcome.acked.push(message);
            self.output.stay(frame, bytes, |_| None);
        }
        Ok(())
    }

    fn emit_root_direct(
        &mut self,
        stream: usize,
        task: u32,
        message: u64,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        let bytes = self.output.write_direct(stream, row)?;
        self.send(stream, To::Task(task), message, bytes)
    }

    fn emit_root_and_tell(
        &mut self,
        stream: usize,
        message: Option<u64>,
        row: impl FnOnce(&mut RowWriter<'_>),
        told: &mut Vec<u32>,
    ) -> Result<(), ComponentError> {
        let bytes = self.output.write_row(stream, row)?;
        match message {
            Some(message) => self.send(stream, To::Told(told), message, bytes),
            None => send(self.output, stream, To::Told(told), None, |_| {}),
        }
    }

    fn emit_untracked(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_row(stream, row)?;
        self.output.send(stream, None, |_| {});
        Ok(())
    }

    #[inline]
    fn room(&self) -> usize {
        if self.output.bytes() >= self.stop_at {
            return 0;
        }
        self.ledger.room()
    }
}
