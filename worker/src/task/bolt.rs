//! The core of a bolt's task.
//!
//! Owns: the loop over the rows of a frame, ticks, when the roots of a frame are acked. Leaves to others: what the bolt
//! emits through ([`super::anchored`]), what it holds ([`super::holds`]).

use std::sync::Weak;

use waterspout_core::finish::TaskState;
use waterspout_core::frame::{Frame, GroupId, MAX_ROWS, RootBits};
use waterspout_core::ledger::{LedgerEntry, LedgerSettings};

use super::anchored::Anchored;
use super::finish::Finishing;
use super::holds::Holds;
use super::part::by_numbering;
use super::{Counts, Handed, Latency, OUTPUT_BUDGET, Output, Part, Ran, TaskCore, Tracking};
use crate::component::{Bolt, ComponentError, Tuple, Waker};
use crate::gate::Wake;
use crate::poison::{Here, Place};

/// Rows of a first run; then as many as take about [`LONG_RUN`].
const FIRST_ROWS: usize = 32;
/// A run that takes longer, in microseconds, is followed by a shorter one.
const LONG_RUN: u64 = 1_000;

/// A bolt with its output and the frame that it is in the middle of.
pub struct BoltTask<B> {
    bolt: B,
    output: Output,
    holds: Holds,
    max_held: usize,
    current: Option<Current>,
    /// Most rows of one run. Below [`MAX_ROWS`] the bolt is slow, and each run acks what it did.
    rows: usize,
    finishing: Option<Finishing>,
    /// Whether a finish may emit.
    active: bool,
    /// Was told to pause since it was active.
    paused: bool,
    ticks: Option<Timer>,
    waker: Waker,
    /// When the time-outs of what is held begin anew.
    renewals: Timer,
    executed: u64,
    here: Here,
}

pub(super) struct Current {
    frame: Frame,
    next_row: usize,
    /// The roots that are acked already, in the order of the frame's groups; empty if none is.
    acked: Vec<RootBits>,
}

/// When something is due that comes again and again. Times are in microseconds.
pub(super) struct Timer {
    every: u64,
    /// Not known before the task runs.
    at: Option<u64>,
}

impl Timer {
    pub(super) fn new(every: u64) -> Self {
        Self {
            every: every.max(1),
            at: None,
        }
    }

    /// When it is due next; not known before it was looked at.
    pub(super) fn at(&self) -> Option<u64> {
        self.at
    }

    /// Whether it is due. Those that were missed are not made up for.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        let at = *self.at.get_or_insert(now + self.every);
        let is_due = now >= at;
        if is_due {
            self.at = Some((at + self.every).max(now + 1));
        }
        is_due
    }
}

impl<B: Bolt> BoltTask<B> {
    /// A task around `bolt`, which gets a tick every so many microseconds, and says in `here` which tuple it is at.
    pub fn new(
        bolt: B,
        output: Output,
        tick_every: Option<u64>,
        tracking: Tracking,
        waker: Waker,
        here: Here,
    ) -> Self {
        Self {
            max_held: bolt.max_held().max(1),
            bolt,
            output,
            holds: Holds::default(),
            current: None,
            rows: FIRST_ROWS,
            finishing: None,
            active: false,
            paused: true,
            ticks: tick_every.map(Timer::new),
            waker,
            renewals: Timer::new(tracking.ledger.timeout_micros / 4),
            executed: 0,
            here,
        }
    }

    /// Whether the bolt takes no more tuples now.
    fn is_full(&self) -> bool {
        self.holds.len() >= self.max_held || !self.bolt.has_room()
    }

    /// Calls the bolt without a tuple at hand.
    fn call(
        &mut self,
        what: impl FnOnce(&mut B, &mut Anchored<'_>) -> Result<(), ComponentError>,
    ) -> Result<(), ComponentError> {
        let frame = self.current.as_ref().map(|current| &current.frame);
        let mut out = Anchored::without_tuple(&mut self.output, &mut self.holds, frame);
        what(&mut self.bolt, &mut out)?;
        self.bolt.flush()?;
        self.fail_dropped();
        Ok(())
    }

    /// Does what is due between two tuples.
    fn look_at_time(&mut self, now: u64) -> Result<(), ComponentError> {
        if !self.active && !self.paused {
            self.paused = true;
            self.call(|bolt, out| bolt.pause(out))?;
        }
        if self.waker.take() {
            self.call(|bolt, out| bolt.woken(out))?;
        }
        // Without ticks, what is held may never be let go of, and a drain would wait in vain.
        // Nor in vain does a bolt that finished hold what a spout that came back has emitted again.
        let may_tick = self.may_tick();
        if may_tick && self.ticks.as_mut().is_some_and(|ticks| ticks.is_due(now)) {
            self.call(|bolt, out| bolt.tick(out))?;
        }
        if self.holds.len() > 0 && self.renewals.is_due(now) {
            for root in self.holds.renewed() {
                self.output.renew_root(root);
            }
        }
        Ok(())
    }

    fn may_tick(&self) -> bool {
        self.finishing.is_none() && self.active || self.holds.len() > 0
    }

    /// When [`BoltTask::look_at_time`] has something to do next.
    fn next_time(&self) -> Option<u64> {
        let holds = self.holds.len() > 0;
        let ticks = self.ticks.as_ref().filter(|_| self.may_tick());
        let renewals = Some(&self.renewals).filter(|_| holds);
        ticks
            .into_iter()
            .chain(renewals)
            .filter_map(|timer| timer.at)
            .min()
    }

    /// Works through rows of the current frame. True if the frame is done.
    fn work(&mut self) -> Result<bool, ComponentError> {
        let Some(current) = &mut self.current else {
            return Ok(true);
        };
        let frame = &current.frame;
        let stop_at = self.output.bytes() + OUTPUT_BUDGET;
        let from = current.next_row;
        let until = frame.rows().min(from.saturating_add(self.rows));
        let place = *self.here;
        while current.next_row < until && self.holds.len() < self.max_held && self.bolt.has_room() {
            let row = current.next_row;
            place.at(row, frame);
            let tuple = Tuple {
                stream: frame.stream,
                source: frame.source,
                row: frame.row(row),
            };
            let mut out = Anchored::new(&mut self.output, &mut self.holds, frame, row);
            self.bolt.execute(tuple, &mut out)?;
            current.next_row += 1;
            if self.output.bytes() >= stop_at {
                break;
            }
        }
        place.leave();
        self.executed += (current.next_row - from) as u64;
        Ok(current.next_row == frame.rows())
    }

    /// Fails the tuples that the bolt held and dropped.
    fn fail_dropped(&mut self) {
        if self.holds.len() == 0 {
            return;
        }
        while let Some(ticket) = self.holds.next_dropped() {
            let frame = self.current.as_ref().map(|current| &current.frame);
            Anchored::without_tuple(&mut self.output, &mut self.holds, frame).let_go(ticket, true);
        }
    }

    /// Acks the roots of the current frame of which nothing is left to do here.
    fn ack_done(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let frame = &current.frame;
        let mut done: Vec<RootBits> = frame.groups.iter().map(|group| group.roots).collect();
        for (done, acked) in done.iter_mut().zip(&current.acked) {
            (0..4).for_each(|word| done[word] &= !acked[word]);
        }
        for row in current.next_row..frame.rows() {
            frame.roots(row).each(|group, root| {
                let held = frame.groups.iter().position(|held| held.group == group);
                if let Some(ordinal) = held {
                    done[ordinal][usize::from(root >> 6)] &= !(1 << (root & 63));
                }
            });
        }
        self.holds.exclude(frame, &mut done);
        self.output.ack_part(frame, &done);
        if current.acked.is_empty() {
            current.acked = done;
        } else {
            for (acked, done) in current.acked.iter_mut().zip(&done) {
                (0..4).for_each(|word| acked[word] |= done[word]);
            }
        }
    }

    /// Works on the current frame for a while.
    fn go_on(&mut self) -> Result<Ran, ComponentError> {
        let is_done = self.work()?;
        if is_done {
            self.bolt.flush()?;
            self.fail_dropped();
            let is_plain = self.holds.len() == 0
                && self
                    .current
                    .as_ref()
                    .is_some_and(|current| current.acked.is_empty());
            if !is_plain {
                self.ack_done();
            }
            if let Some(done) = self.current.take()
                && is_plain
            {
                self.output.end_frame(&done.frame);
            }
            return Ok(Ran::More);
        }
        let is_full = self.is_full();
        if is_full || self.rows < MAX_ROWS {
            self.bolt.flush()?;
            self.fail_dropped();
            self.ack_done();
        }
        if is_full && self.is_full() {
            return Ok(Ran::Idle(self.next_time()));
        }
        Ok(Ran::More)
    }
}

impl<B: Bolt> BoltTask<B> {
    /// Works on what is at hand.
    fn run_on(&mut self, now: u64) -> Result<Ran, ComponentError> {
        if self.current.is_some() {
            return self.go_on();
        }
        let expiry = match &mut self.finishing {
            Some(finishing) if self.active => {
                // What comes of tuples that a spout emits again is no root of this bolt's.
                self.output.emit_roots();
                let ran = finishing.run(&mut self.bolt, &mut self.output, now);
                self.output.end_roots();
                match ran? {
                    Ran::More => return Ok(Ran::More),
                    Ran::Idle(at) => at,
                }
            }
            Some(finishing) => finishing.expire(now),
            None => None,
        };
        Ok(Ran::Idle(expiry.into_iter().chain(self.next_time()).min()))
    }
}

impl<B: Bolt> TaskCore for BoltTask<B> {
    fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    fn accept(&mut self, frame: Frame) {
        self.output.begin_frame();
        self.here.enter(&frame);
        self.current = Some(Current {
            frame,
            next_row: 0,
            acked: Vec::new(),
        });
    }

    fn run(&mut self, now: u64) -> Result<Ran, ComponentError> {
        self.output.set_time(now);
        self.look_at_time(now)?;
        let ran = self.run_on(now)?;
        // What the bolt left for later, or what rang meanwhile.
        Ok(if self.waker.is_rung() { Ran::More } else { ran })
    }

    fn wake_through(&mut self, task: Weak<dyn Wake>) {
        self.waker.attach(task);
    }

    fn took(&mut self, micros: u64) {
        if micros > LONG_RUN {
            self.rows = (self.rows / 2).max(1);
        } else if micros < LONG_RUN / 4 && self.rows < MAX_ROWS {
            self.rows = (self.rows * 2).min(MAX_ROWS);
        }
    }

    fn settle(&mut self, entries: &[LedgerEntry], now: u64) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.finishing {
            finishing.settle(entries, now);
        }
        Ok(())
    }

    fn fail_all(&mut self) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.finishing {
            finishing.fail_all();
        }
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Some(*self.here)
    }

    fn set_active(&mut self, active: bool) {
        self.active = active;
        if active {
            self.paused = false;
        }
    }

    fn renew(&mut self, tracking: Tracking) -> Result<(), ComponentError> {
        self.current = None;
        self.output.reset();
        self.renewals = Timer::new(tracking.ledger.timeout_micros / 4);
        if self.holds.clear() {
            self.bolt.forget();
        }
        if let Some(finishing) = &mut self.finishing {
            finishing.renew(tracking.ledger);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, ComponentError> {
        // What is still held was failed by the drain, and comes again.
        if self.holds.clear() {
            self.bolt.forget();
        }
        Ok(self.bolt.snapshot()?.unwrap_or_default())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        self.bolt.restore(snapshot)
    }

    fn take_over(&mut self, handed: &[Handed<'_>], part: &Part) -> Result<(), ComponentError> {
        // Nothing is there yet that it could forget.
        let can_divide = self.bolt.keep_keys(&|_| false);
        for numbering in by_numbering(handed) {
            let states = numbering
                .iter()
                .filter(|one| can_divide || part.follows(one.index))
                .map(|one| one.state);
            self.bolt.restore_all(&states.collect::<Vec<_>>())?;
        }
        if can_divide {
            self.bolt.keep_keys(&|key| part.owns(key));
        }
        Ok(())
    }

    fn keep_keys(&mut self, is_own: &dyn Fn(&[u8]) -> bool) {
        self.bolt.keep_keys(is_own);
    }

    fn finish(&mut self, ledger: LedgerSettings) {
        if self.finishing.is_none() {
            self.finishing = Some(Finishing::new(ledger));
        }
    }

    fn state(&self) -> TaskState {
        match &self.finishing {
            None => TaskState::Running,
            Some(finishing) if finishing.is_done() => TaskState::Finished,
            Some(_) => TaskState::Finishing,
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn counts(&self) -> Counts {
        Counts {
            executed: self.executed,
            emitted: self.output.emitted,
            emitted_bytes: self.output.bytes(),
            held: self.holds.len() as u64,
            pending: self.finishing.as_ref().map_or(0, Finishing::pending),
            ..Counts::default()
        }
    }

    fn is_pending(&self, group: GroupId, root: u8) -> bool {
        let finishing = self.finishing.as_ref();
        finishing.is_some_and(|finishing| finishing.is_pending(group, root))
    }

    fn take_latencies(&mut self) -> Vec<Latency> {
        Vec::new()
    }

    fn position(&self) -> Option<serde_json::Value> {
        None
    }

    fn unsaved(&self) -> u64 {
        0
    }

    fn max_unsaved(&self) -> u64 {
        u64::MAX
    }

    fn saved(&mut self) {}
}
