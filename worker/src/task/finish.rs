//! The finish of a bolt: what it emits after all its input has ended.
//!
//! Owns: a ledger of the bolt's own, since what is emitted now has no root among the spouts', and the rows until they
//! are acked, so that they can be emitted again. Invariant: at most the ledger's bounds are kept in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use waterspout_core::frame::GroupId;
use waterspout_core::ledger::{Ledger, LedgerEntry, LedgerSettings, Outcome};
use waterspout_core::value::RowWriter;

use super::{OUTPUT_BUDGET, Output, Ran};
use crate::component::{Bolt, ComponentError, Emit, Finished, Held, Patience};

/// A finish that is under way or done.
pub(super) struct Finishing {
    ledger: Ledger,
    kept: FxHashMap<u64, Kept>,
    again: VecDeque<u64>,
    next_message: u64,
    all_emitted: bool,
    outcome: Outcome,
}

/// A row that was emitted and is not acked.
struct Kept {
    stream: usize,
    /// The task that it was sent to by name.
    task: Option<u32>,
    row: Vec<u8>,
}

/// Emits roots of the finishing bolt's own.
pub(super) struct Rooted<'a> {
    finishing: &'a mut Finishing,
    output: &'a mut Output,
    now: u64,
}

impl Emit for Rooted<'_> {
    fn emit(&mut self, stream: usize, row: impl FnOnce(&mut RowWriter<'_>)) -> Result<(), ComponentError> {
        self.output.write_row(stream, row)?;
        self.keep_and_send(stream, None)
    }

    fn emit_direct(
        &mut self,
        stream: usize,
        task: u32,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_direct(stream, row)?;
        self.keep_and_send(stream, Some(task))
    }

    fn emit_unanchored(
        &mut self,
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_row(stream, row)?;
        self.output.send(stream, None, |_| {});
        Ok(())
    }

    fn emit_anchored(
        &mut self,
        _anchors: &[&Held],
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.emit(stream, row)
    }

    // All input has ended, so there is no tuple at hand and none is held.
    fn fail(&mut self) {}

    fn hold(&mut self, _patience: Patience) -> Held {
        Held::new(u64::MAX, Arc::default())
    }

    fn ack(&mut self, held: Held) {
        held.take();
    }

    fn fail_held(&mut self, held: Held) {
        held.take();
    }

    fn renew(&mut self, _held: &Held) {}
}

impl Rooted<'_> {
    fn keep_and_send(&mut self, stream: usize, task: Option<u32>) -> Result<(), ComponentError> {
        let message = self.finishing.next_message;
        self.finishing.next_message += 1;
        let row = self.output.last_row().to_vec();
        self.finishing.kept.insert(message, Kept { stream, task, row });
        self.finishing.send(message, stream, task, self.output, self.now)
    }
}

impl Finishing {
    pub(super) fn new(settings: LedgerSettings) -> Self {
        Self {
            ledger: Ledger::new(settings),
            kept: FxHashMap::default(),
            again: VecDeque::new(),
            next_message: 0,
            all_emitted: false,
            outcome: Outcome::default(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.all_emitted && self.kept.is_empty()
    }

    /// Whether a root is neither acked nor failed.
    pub(super) fn is_pending(&self, group: GroupId, root: u8) -> bool {
        self.ledger.message(group, root).is_some()
    }

    /// Rows that were emitted and are not acked.
    pub(super) fn pending(&self) -> u64 {
        self.ledger.pending() as u64
    }

    /// Fails what took too long. When to look again, in microseconds.
    pub(super) fn expire(&mut self, now: u64) -> Option<u64> {
        self.ledger.expire(now, &mut self.outcome);
        self.account();
        self.ledger.next_expiry()
    }

    /// Goes on with a new ledger: what was pending is emitted again.
    pub(super) fn renew(&mut self, settings: LedgerSettings) {
        self.fail_all();
        self.ledger = Ledger::new(settings);
    }

    pub(super) fn run<B: Bolt>(
        &mut self,
        bolt: &mut B,
        output: &mut Output,
        now: u64,
    ) -> Result<Ran, ComponentError> {
        self.expire(now);
        let stop_at = output.bytes() + OUTPUT_BUDGET;
        while self.ledger.has_room() && output.bytes() < stop_at {
            if self.send_one_again(output, now)? {
                continue;
            }
            if self.all_emitted {
                break;
            }
            match bolt.finish(&mut self.rooted(output, now))? {
                Finished::More => {}
                Finished::Done => self.all_emitted = true,
                Finished::Later => {
                    self.account();
                    return Ok(Ran::Idle(self.ledger.next_expiry()));
                }
            }
        }
        self.account();
        if self.again.is_empty() && self.all_emitted || !self.ledger.has_room() {
            return Ok(Ran::Idle(self.ledger.next_expiry()));
        }
        Ok(Ran::More)
    }

    /// Emits again what failed, for a bolt that is asked for the rest elsewhere.
    pub(super) fn resend(&mut self, output: &mut Output, now: u64) -> Result<(), ComponentError> {
        self.expire(now);
        let stop_at = output.bytes() + OUTPUT_BUDGET;
        while self.ledger.has_room() && output.bytes() < stop_at && self.send_one_again(output, now)? {}
        self.account();
        Ok(())
    }

    /// Emits one again of those that failed. False if there is none.
    fn send_one_again(&mut self, output: &mut Output, now: u64) -> Result<bool, ComponentError> {
        let Some(message) = self.again.pop_front() else {
            return Ok(false);
        };
        if let Some(kept) = self.kept.get(&message) {
            let (stream, task) = (kept.stream, kept.task);
            output.load_row(&kept.row);
            self.send(message, stream, task, output, now)?;
        }
        Ok(true)
    }

    /// Whether the bolt may emit more now, and has more.
    pub(super) fn wants_more(&self) -> bool {
        !self.all_emitted && self.ledger.has_room()
    }

    /// The bolt has nothing more to emit.
    pub(super) fn has_emitted_all(&mut self) {
        self.all_emitted = true;
    }

    /// Where the bolt emits to meanwhile.
    pub(super) fn rooted<'a>(&'a mut self, output: &'a mut Output, now: u64) -> Rooted<'a> {
        Rooted {
            finishing: self,
            output,
            now,
        }
    }

    pub(super) fn settle(&mut self, entries: &[LedgerEntry], now: u64) {
        for entry in entries {
            self.ledger.apply(entry, now, &mut self.outcome);
        }
        self.account();
    }

    pub(super) fn fail_all(&mut self) {
        self.ledger.fail_all(&mut self.outcome);
        self.account();
    }

    fn send(
        &mut self,
        message: u64,
        stream: usize,
        task: Option<u32>,
        output: &mut Output,
        now: u64,
    ) -> Result<(), ComponentError> {
        let root = self.ledger.open(message, output.last_row().len(), now);
        let registered = |frame| self.ledger.register_last(frame);
        match task {
            None => output.send(stream, Some(root), registered),
            Some(task) => output.send_direct(stream, task, Some(root), registered)?,
        }
        self.ledger.settle_last(now, &mut self.outcome);
        Ok(())
    }

    /// Forgets the rows that are acked and queues those that failed.
    fn account(&mut self) {
        for message in self.outcome.acked.drain(..) {
            self.kept.remove(&message);
        }
        self.again.extend(self.outcome.failed.drain(..));
        self.again.extend(self.outcome.lost.drain(..));
        self.again.extend(self.outcome.timed_out.drain(..));
        self.outcome.clear();
    }
}
