//! What a bolt emits through while it works on a tuple, or on none.
//!
//! Owns: anchors, and what becomes of a tuple that is failed, held, or let go of. Leaves to others: the frames
//! ([`super::Output`]), what is held ([`super::holds`]).

use waterspout_core::frame::{Frame, Roots};
use waterspout_core::value::RowWriter;

use super::holds::{Holds, Root};
use super::output::{Output, RowPlace};
use crate::component::{ComponentError, Emit, Held, Patience};

/// Emits anchored to one input tuple, or to none.
pub(super) struct Anchored<'a> {
    output: &'a mut Output,
    holds: &'a mut Holds,
    /// The frame that the task is in the middle of.
    frame: Option<&'a Frame>,
    /// The row of it that is at hand, if one is.
    row: Option<usize>,
}

impl<'a> Anchored<'a> {
    /// At row `row` of `frame`.
    #[inline]
    pub(super) fn new(output: &'a mut Output, holds: &'a mut Holds, frame: &'a Frame, row: usize) -> Self {
        Self {
            output,
            holds,
            frame: Some(frame),
            row: Some(row),
        }
    }

    /// At no tuple, perhaps in the middle of `frame`.
    pub(super) fn without_tuple(
        output: &'a mut Output,
        holds: &'a mut Holds,
        frame: Option<&'a Frame>,
    ) -> Self {
        Self {
            output,
            holds,
            frame,
            row: None,
        }
    }

    /// The roots of the tuple at hand. Looked up when needed, which most sinks never do.
    #[inline]
    fn roots(&self) -> Roots<'a> {
        match (self.frame, self.row) {
            (Some(frame), Some(row)) => frame.roots(row),
            _ => Roots::None,
        }
    }

    /// Lets go of a held tuple. Nothing happens if it is of an epoch that has ended.
    pub(super) fn let_go(&mut self, ticket: u64, failed: bool) {
        let mut free: Vec<Root> = Vec::new();
        let Some(hold) = self.holds.release(ticket, |root| free.push(root)) else {
            return;
        };
        if failed {
            hold.roots.iter().for_each(|&root| self.output.fail_root(root));
        }
        // The frame at hand acks its roots itself, at its end.
        if self.frame.is_none_or(|frame| frame.id != hold.frame) {
            for root in free {
                self.output.ack_root(root, hold.frame);
            }
        }
    }

    /// Sends the row that was written last to all who read `stream`.
    #[inline]
    fn send(&mut self, stream: usize) -> Result<(), ComponentError> {
        let anchor = match self.roots() {
            Roots::One(group, root) => Some((group, root)),
            Roots::None => None,
            Roots::Several(..) => return self.send_for_several(stream, None),
        };
        self.output.send(stream, anchor, |_| {});
        Ok(())
    }

    #[cold]
    fn send_for_several(&mut self, stream: usize, task: Option<u32>) -> Result<(), ComponentError> {
        let mut roots: Vec<Root> = Vec::new();
        self.roots().each(|group, root| roots.push((group, root)));
        self.output.send_several(stream, task, &roots)
    }
}

impl Emit for Anchored<'_> {
    #[inline]
    fn emit(&mut self, stream: usize, row: impl FnOnce(&mut RowWriter<'_>)) -> Result<(), ComponentError> {
        let (anchor, place) = match self.roots() {
            Roots::One(group, root) => (Some((group, root)), self.output.next_place(stream)),
            Roots::None => (None, self.output.next_place(stream)),
            Roots::Several(..) => (None, RowPlace::Scratch),
        };
        let bytes = self.output.write_at(place, stream, row)?;
        match place {
            RowPlace::Frame(frame) => self.output.stay(frame, bytes, |_| anchor),
            RowPlace::Scratch => return self.send(stream),
        }
        Ok(())
    }

    fn emit_direct(
        &mut self,
        stream: usize,
        task: u32,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_direct(stream, row)?;
        self.send_for_several(stream, Some(task))
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
        anchors: &[&Held],
        stream: usize,
        row: impl FnOnce(&mut RowWriter<'_>),
    ) -> Result<(), ComponentError> {
        self.output.write_row(stream, row)?;
        let holds = anchors.iter().filter_map(|held| self.holds.get(held.ticket));
        let mut roots: Vec<Root> = holds.flat_map(|hold| hold.roots.iter().copied()).collect();
        roots.sort_unstable();
        roots.dedup();
        self.output.send_several(stream, None, &roots)
    }

    fn fail(&mut self) {
        let roots = self.roots();
        let output = &mut *self.output;
        roots.each(|group, root| output.fail_root((group, root)));
    }

    fn hold(&mut self, patience: Patience) -> Held {
        let frame = self.frame.map_or(0, |frame| frame.id);
        self.holds.hold(frame, self.roots(), patience)
    }

    fn ack(&mut self, held: Held) {
        self.let_go(held.take(), false);
    }

    fn fail_held(&mut self, held: Held) {
        self.let_go(held.take(), true);
    }

    fn renew(&mut self, held: &Held) {
        if let Some(hold) = self.holds.get(held.ticket) {
            hold.roots.iter().for_each(|&root| self.output.renew_root(root));
        }
    }
}
