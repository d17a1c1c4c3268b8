//! What a program has in work, and what its words do to it.
//!
//! Owns: the batches that are under way, the tuples that are held, anchors, which answer's turn it is. Leaves to others:
//! when the program is asked something ([`super::ScriptTask`]).

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use waterspout_core::frame::{Frame, RootBits, Roots};
use waterspout_core::value::RowWriter;

use super::super::Output;
use super::super::finish::Finishing;
use super::super::holds::{Holds, Root};
use crate::component::script::{Answer, Ear, Emitted, Fault, SaidError, Talk, Wrong};
use crate::component::{Emit, Held, Patience};

/// What a program was asked and has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Batch,
    Tick,
    Finish,
    Pause,
    Snapshot,
    Ping,
}

/// A frame that is with the program.
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) rows: usize,
    /// Absent if it is of an epoch that has ended: what comes of it is dropped.
    pub(super) frame: Option<Frame>,
}

/// A tuple that the program holds.
pub(super) struct Hold {
    pub(super) held: Held,
    pub(super) since: u64,
}

/// What the program's words work on.
pub(super) struct Work {
    pub(super) output: Output,
    pub(super) holds: Holds,
    pub(super) held: FxHashMap<u64, Hold>,
    pub(super) batches: VecDeque<Batch>,
    pub(super) asked: VecDeque<Asked>,
    /// Since when the oldest of it waits for an answer.
    pub(super) waits_since: u64,
    pub(super) next_id: u64,
    /// The first id that the program of this life has seen.
    pub(super) first_id: u64,
    pub(super) life: u32,
    pub(super) is_ready: bool,
    /// The program answered something that was asked.
    pub(super) has_answered: bool,
    pub(super) finishing: Option<Finishing>,
    pub(super) state: Option<Vec<u8>>,
    pub(super) replies: Vec<Vec<u8>>,
    pub(super) last_error: Option<SaidError>,
    pub(super) timeout: u64,
    pub(super) now: u64,
    pub(super) executed: u64,
    pub(super) fails: u64,
}

impl Work {
    /// Nothing is in work. Times are in microseconds.
    pub(super) fn new(output: Output, timeout: u64) -> Self {
        Self {
            output,
            holds: Holds::default(),
            held: FxHashMap::default(),
            batches: VecDeque::new(),
            asked: VecDeque::new(),
            waits_since: 0,
            next_id: 0,
            first_id: 0,
            life: 0,
            is_ready: false,
            has_answered: false,
            finishing: None,
            state: None,
            replies: Vec::new(),
            last_error: None,
            timeout,
            now: 0,
            executed: 0,
            fails: 0,
        }
    }

    /// The root of a row of the batch that is being answered, or of a held tuple; none if it is of an epoch that ended.
    fn roots(&self, anchors: &[u64], roots: &mut Vec<Root>) -> Result<bool, Wrong> {
        for &id in anchors {
            if let Some(batch) = self.batches.front()
                && id >= batch.first
                && id - batch.first < batch.rows as u64
            {
                let Some(frame) = &batch.frame else {
                    return Ok(false);
                };
                frame
                    .roots((id - batch.first) as usize)
                    .each(|group, root| roots.push((group, root)));
            } else if let Some(hold) = self.held.get(&id) {
                let ticket = self.holds.get(hold.held.ticket);
                roots.extend(ticket.iter().flat_map(|hold| &hold.roots));
            } else {
                self.check_known(id)?;
                return Ok(false);
            }
        }
        roots.sort_unstable();
        roots.dedup();
        Ok(true)
    }

    fn check_known(&self, id: u64) -> Result<(), Wrong> {
        if (self.first_id..self.next_id).contains(&id) {
            return Ok(());
        }
        Err(Wrong::Rule(format!(
            "it names a tuple {id}, which it was never given"
        )))
    }

    /// Lets go of a held tuple.
    fn let_go(&mut self, id: u64, failed: bool) -> Result<(), Wrong> {
        let Some(hold) = self.held.remove(&id) else {
            // Of an epoch that ended, or given up meanwhile.
            return self.check_known(id);
        };
        self.release(hold.held, failed);
        Ok(())
    }

    pub(super) fn release(&mut self, held: Held, failed: bool) {
        let mut free: Vec<Root> = Vec::new();
        let Some(hold) = self.holds.release(held.take(), |root| free.push(root)) else {
            return;
        };
        if failed {
            self.fails += 1;
            hold.roots.iter().for_each(|&root| self.output.fail_root(root));
        }
        for root in free {
            self.output.ack_root(root, hold.frame);
        }
    }

    /// Holds the rows of a frame at once: the program decides on each.
    pub(super) fn hold_all(&mut self, frame: &Frame, first: u64) {
        for row in 0..frame.rows() {
            self.hold(frame, row, first + row as u64, Patience::TimesOut);
        }
    }

    fn hold(&mut self, frame: &Frame, row: usize, id: u64, patience: Patience) {
        let held = self.holds.hold(frame.id, frame.roots(row), patience);
        let hold = Hold {
            held,
            since: self.now,
        };
        self.held.insert(id, hold);
    }

    /// Fails all that the program had.
    pub(super) fn fail_everything(&mut self) {
        for batch in self.batches.drain(..) {
            let Some(frame) = batch.frame else { continue };
            for group in &frame.groups {
                for root in 0..=255u8 {
                    if group.roots[usize::from(root >> 6)] & 1 << (root & 63) != 0 {
                        self.output.fail_root((group.group, root));
                    }
                }
            }
        }
        let held: Vec<Hold> = self.held.drain().map(|(_, hold)| hold).collect();
        for hold in held {
            self.release(hold.held, true);
        }
        self.asked.clear();
    }

    /// Takes what was asked first off the list.
    fn answered(&mut self, what: Asked) -> Result<(), Wrong> {
        if self.asked.front() != Some(&what) {
            return Err(Wrong::Rule(format!(
                "it answered out of turn: to {what:?}, and {} was asked",
                self.asked
                    .front()
                    .map_or_else(|| "nothing".to_owned(), |asked| format!("{asked:?}"))
            )));
        }
        self.asked.pop_front();
        self.waits_since = self.now;
        self.has_answered = true;
        Ok(())
    }

    fn send_row(
        &mut self,
        emitted: Emitted<'_>,
        row: impl FnOnce(&mut RowWriter<'_>) -> Result<(), Fault>,
        told: Option<&mut Vec<u32>>,
    ) -> Result<(), Wrong> {
        let mut read = Ok(());
        let write = |writer: &mut RowWriter<'_>| read = row(writer);
        let Emitted {
            output,
            anchors,
            task,
        } = emitted;
        if let Some(finishing) = &mut self.finishing
            && anchors.is_empty()
        {
            let mut rooted = finishing.rooted(&mut self.output, self.now);
            let mut scratch = Vec::new();
            let mut writer = RowWriter::new(&mut scratch);
            write(&mut writer);
            let fields = writer.fields();
            read?;
            let again = |writer: &mut RowWriter<'_>| {
                writer.encoded(&scratch, fields);
            };
            let sent = match task {
                Some(task) => rooted.emit_direct(output, task, again),
                None => rooted.emit(output, again),
            };
            return sent.map_err(|error| Wrong::Rule(error.to_string()));
        }
        let written = match task {
            Some(_) => self.output.write_direct(output, write),
            None => self.output.write_row(output, write),
        };
        read?;
        written.map_err(|error| Wrong::Rule(error.to_string()))?;
        // The common case: one tuple of the batch at hand, with one root.
        if let ([id], None, None, Some(batch)) = (anchors, task, &told, self.batches.front())
            && let Some(frame) = &batch.frame
            && *id >= batch.first
            && *id - batch.first < batch.rows as u64
            && let Roots::One(group, root) = frame.roots((*id - batch.first) as usize)
        {
            self.output.send(output, Some((group, root)), |_| {});
            return Ok(());
        }
        let mut roots = Vec::new();
        if !self.roots(anchors, &mut roots)? {
            return Ok(());
        }
        let sent = match told {
            Some(told) if task.is_none() => self.output.send_and_tell(output, &roots, told),
            _ => self.output.send_several(output, task, &roots),
        };
        sent.map_err(|error| Wrong::Rule(error.to_string()))
    }
}

impl Talk for Work {
    fn alive(&mut self) {
        self.waits_since = self.now;
    }

    fn error(&mut self, text: &str, traceback: &str, reason: Option<&str>) {
        self.last_error = Some(SaidError::hear(text, traceback, reason));
    }

    fn metric(&mut self, name: &str, value: f64) {
        crate::component::script::count(name, value);
    }
}

impl Ear for Work {
    fn ready(&mut self) {
        self.is_ready = true;
        self.first_id = self.next_id;
    }

    #[inline]
    fn emit(
        &mut self,
        emitted: Emitted<'_>,
        row: impl FnOnce(&mut RowWriter<'_>) -> Result<(), Fault>,
    ) -> Result<(), Wrong> {
        self.send_row(emitted, row, None)
    }

    fn emit_and_tell(
        &mut self,
        emitted: Emitted<'_>,
        row: impl FnOnce(&mut RowWriter<'_>) -> Result<(), Fault>,
        told: &mut Vec<u32>,
    ) -> Result<(), Wrong> {
        self.send_row(emitted, row, Some(told))
    }

    fn batch_begins(&mut self, first: u64) -> Result<(), Wrong> {
        self.answered(Asked::Batch)?;
        match self.batches.front() {
            Some(batch) if batch.first == first => Ok(()),
            _ => Err(Wrong::Rule(format!(
                "it answered batch {first}, and it is the turn of another one"
            ))),
        }
    }

    fn batch_ends(&mut self, failed: &[u64], held: &[u64]) -> Result<(), Wrong> {
        let Some(batch) = self.batches.pop_front() else {
            return Ok(());
        };
        let Batch {
            first,
            rows,
            frame: Some(frame),
        } = batch
        else {
            return Ok(());
        };
        self.executed += rows as u64;
        let row_of = |id: u64| {
            let row = id.checked_sub(first).filter(|row| *row < rows as u64);
            let wrong = || {
                Wrong::Rule(format!(
                    "it names a tuple {id} in its answer to a batch that does not have it"
                ))
            };
            row.map(|row| row as usize).ok_or_else(wrong)
        };
        let named: Result<Vec<usize>, Wrong> = failed.iter().chain(held).map(|&id| row_of(id)).collect();
        let named = match named {
            Ok(named) => named,
            Err(wrong) => {
                // So that it is failed with the rest.
                self.batches.push_front(Batch {
                    first,
                    rows,
                    frame: Some(frame),
                });
                return Err(wrong);
            }
        };
        let (failed_rows, held_rows) = named.split_at(failed.len());
        self.fails += failed_rows.len() as u64;
        for &row in failed_rows {
            frame
                .roots(row)
                .each(|group, root| self.output.fail_root((group, root)));
        }
        if held_rows.is_empty() {
            self.output.end_frame(&frame);
            return Ok(());
        }
        for &row in held_rows {
            self.hold(&frame, row, first + row as u64, Patience::Renewed);
        }
        let mut done: Vec<RootBits> = frame.groups.iter().map(|group| group.roots).collect();
        self.holds.exclude(&frame, &mut done);
        self.output.ack_part(&frame, &done);
        Ok(())
    }

    fn ack(&mut self, id: u64) -> Result<(), Wrong> {
        self.has_answered = true;
        self.let_go(id, false)
    }

    fn fail(&mut self, id: u64) -> Result<(), Wrong> {
        let mut roots = Vec::new();
        if let Some(batch) = self.batches.front()
            && let Some(frame) = &batch.frame
            && id >= batch.first
            && id - batch.first < batch.rows as u64
        {
            frame
                .roots((id - batch.first) as usize)
                .each(|group, root| roots.push((group, root)));
            self.fails += 1;
            roots.into_iter().for_each(|root| self.output.fail_root(root));
            return Ok(());
        }
        self.let_go(id, true)
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Wrong> {
        match answer {
            Answer::Ticked => self.answered(Asked::Tick),
            Answer::Paused => self.answered(Asked::Pause),
            Answer::Alive => self.answered(Asked::Ping),
            Answer::State(state) => {
                self.answered(Asked::Snapshot)?;
                self.state = Some(state);
                Ok(())
            }
            Answer::Finished(more) => {
                self.answered(Asked::Finish)?;
                if let Some(finishing) = &mut self.finishing
                    && !more
                {
                    finishing.has_emitted_all();
                }
                Ok(())
            }
        }
    }

    fn reply(&mut self, message: Vec<u8>) {
        self.replies.push(message);
    }
}
