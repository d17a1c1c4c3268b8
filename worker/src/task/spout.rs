//! The core of a spout's task: polls, the ledger of its roots, acks and fails.
//!
//! A root that failed is emitted again by the spout, after a pause; see [`super::attempts`]. One that is given up is
//! emitted again as well, and goes to the dead letters instead of its stream: so its row need not be kept.

use waterspout_core::finish::TaskState;
use waterspout_core::frame::{Frame, GroupId};
use waterspout_core::ledger::{Ledger, LedgerEntry, LedgerSettings, Outcome};

use super::attempts::{Attempts, DeadLetters, Reason, Verdict};
use super::letters::{Letters, Which};
use super::lost::Lost;
use super::output::Output;
use super::part::by_numbering;
use super::roots::Roots;
use super::{Counts, Handed, Latency, OUTPUT_BUDGET, Part, Ran, TaskCore, Tracking};
use crate::component::{ComponentError, Polled, Spout};
use crate::poison::{Culprit, Keys, Tally};

/// Most polls in one run: waking a task costs more than a poll does.
const POLLS: usize = 32;

/// A spout with its ledger and its output.
pub struct SpoutTask<S> {
    spout: S,
    output: Output,
    ledger: Ledger,
    outcome: Outcome,
    attempts: Attempts,
    lost: Lost,
    keys: Option<Keys>,
    /// The message ids mean the same to the next process.
    ids_last: bool,
    is_tracked: bool,
    active: bool,
    /// Was told to rest since it was paused.
    rested: bool,
    /// The last poll said that nothing more will come.
    ended: bool,
    /// When to poll again after an idle poll, in microseconds.
    poll_at: u64,
    /// The time of the last run, in microseconds.
    now: u64,
    counts: Counts,
    /// How many roots had been acked when the position was saved.
    saved_at: u64,
    max_unsaved: u64,
    latencies: Vec<Latency>,
}

impl<S: Spout> SpoutTask<S> {
    /// A task around `spout`, not active yet.
    ///
    /// `letters` is the stream of dead letters, if a bolt reads it, and `kept` where they are kept if none does.
    pub fn new(
        spout: S,
        output: Output,
        tracking: Tracking,
        letters: Option<DeadLetters>,
        kept: Letters,
        keys: Option<Keys>,
    ) -> Self {
        let mut output = output;
        output.emit_roots();
        if let Some(keys) = &keys {
            keys.begin(tracking.ledger.life);
        }
        Self {
            ids_last: spout.ids_last(),
            lost: Lost::default(),
            keys,
            now: 0,
            spout,
            output,
            ledger: Ledger::new(tracking.ledger),
            outcome: Outcome::default(),
            attempts: Attempts::new(tracking.max_attempts, letters, kept),
            is_tracked: tracking.is_tracked,
            active: false,
            rested: true,
            ended: false,
            poll_at: 0,
            counts: Counts::default(),
            saved_at: 0,
            max_unsaved: tracking.ledger.max_pending as u64,
            latencies: Vec::new(),
        }
    }

    /// Tells the spout what became of its roots.
    fn account(&mut self, now: u64) -> Result<(), ComponentError> {
        if self.outcome.is_empty() {
            return Ok(());
        }
        self.counts.acked += self.outcome.acked.len() as u64;
        self.counts.failed += self.outcome.failed.len() as u64;
        self.counts.timed_out += self.outcome.timed_out.len() as u64;
        self.counts.lost += self.outcome.lost.len() as u64;
        for &message in &self.outcome.acked {
            self.attempts.acked(message);
            self.spout.ack(message);
        }
        let failed = self
            .outcome
            .failed
            .iter()
            .map(|&message| (message, Reason::Failed));
        let timed_out = self
            .outcome
            .timed_out
            .iter()
            .map(|&message| (message, Reason::TimedOut));
        for (message, reason) in failed.chain(timed_out) {
            if self.attempts.failed(message, reason, now) == Verdict::Dead {
                tracing::error!(
                    id = message,
                    ?reason,
                    "a tuple is given up, and no bolt reads the stream 'dead-letters' of this spout; `waterspout dead-letters` lists and replays it"
                );
            }
        }
        for &message in &self.outcome.lost {
            if !self.attempts.lost(message, now) {
                continue;
            }
            self.spout.fail(message);
            self.ended = false;
            self.poll_at = 0;
        }
        self.latencies.append(&mut self.outcome.latencies);
        self.outcome.clear();
        self.spout.settled()
    }
}

impl<S: Spout> TaskCore for SpoutTask<S> {
    fn is_busy(&self) -> bool {
        false
    }

    fn accept(&mut self, _frame: Frame) {}

    fn run(&mut self, now: u64) -> Result<Ran, ComponentError> {
        self.output.set_time(now);
        self.now = now;
        self.ledger.expire(now, &mut self.outcome);
        self.account(now)?;
        if !self.active {
            if !self.rested && self.ledger.pending() == 0 {
                self.rested = true;
                self.spout.rest()?;
            }
            return Ok(Ran::Idle(self.ledger.next_expiry()));
        }
        while let Some(message) = self.attempts.due(now) {
            self.spout.fail(message);
            self.ended = false;
            self.poll_at = 0;
        }
        let stop_at = self.output.bytes() + OUTPUT_BUDGET;
        for _ in 0..POLLS {
            // What waits for its next attempt takes room, too.
            let has_room = self.ledger.has_room() && self.attempts.waiting() < self.ledger.room();
            if self.ended || now < self.poll_at || !has_room {
                let poll_at = if self.ended || now >= self.poll_at {
                    u64::MAX
                } else {
                    self.poll_at
                };
                let expiry = self.ledger.next_expiry().unwrap_or(u64::MAX);
                let due = self.attempts.next_due().unwrap_or(u64::MAX);
                let next = expiry.min(due).min(poll_at);
                return Ok(Ran::Idle((next != u64::MAX).then_some(next)));
            }
            let mut roots = Roots {
                output: &mut self.output,
                ledger: &mut self.ledger,
                outcome: &mut self.outcome,
                is_plain: self.attempts.is_empty(),
                attempts: &mut self.attempts,
                row_keys: self.keys.as_ref().filter(|_| !self.ids_last),
                ids_last: self.ids_last,
                is_tracked: self.is_tracked,
                now,
                stop_at,
            };
            match self.spout.poll(&mut roots)? {
                Polled::More => self.poll_at = 0,
                Polled::Idle(again) => self.poll_at = now + again.as_micros().max(1) as u64,
                Polled::Done => self.ended = true,
            }
            if let Some(keys) = self.keys.as_ref().filter(|_| self.ids_last) {
                keys.note(&mut self.ledger);
            }
            self.account(now)?;
            if self.output.bytes() >= stop_at {
                break;
            }
        }
        Ok(Ran::More)
    }

    fn settle(&mut self, entries: &[LedgerEntry], now: u64) -> Result<(), ComponentError> {
        for entry in entries {
            self.ledger.apply(entry, now, &mut self.outcome);
        }
        self.account(now)
    }

    fn fail_all(&mut self) -> Result<(), ComponentError> {
        self.lost.keep(&self.ledger);
        self.ledger.fail_all(&mut self.outcome);
        self.account(self.now)
    }

    fn died(&mut self, culprits: &[Culprit], now: u64) {
        for culprit in culprits {
            let (group, root) = (culprit.group(), culprit.root);
            let lost = self.lost.take(group, root);
            let Some(message) = lost.or_else(|| self.ledger.message(group, root)) else {
                continue;
            };
            let verdict = self.attempts.killed(message, culprit.cause, culprit.is_sure, now);
            tracing::warn!(
                id = message,
                cause = culprit.cause.text(),
                ?verdict,
                "a process died of a tuple"
            );
        }
    }

    fn know(&mut self, tallies: &[Tally]) {
        self.attempts.know(tallies);
    }

    fn tallies(&mut self) -> Option<Vec<Tally>> {
        self.attempts.changed()
    }

    fn letters(&self) -> Option<Letters> {
        Some(self.attempts.kept().clone())
    }

    fn replay(&mut self, which: &Which) {
        self.attempts.replay(which);
    }

    fn set_active(&mut self, active: bool) {
        self.active = active;
        self.rested = false;
        self.poll_at = 0;
    }

    fn renew(&mut self, tracking: Tracking) -> Result<(), ComponentError> {
        self.fail_all()?;
        self.output.reset();
        self.ledger = Ledger::new(tracking.ledger);
        if let Some(keys) = &self.keys {
            keys.begin(tracking.ledger.life);
        }
        self.is_tracked = tracking.is_tracked;
        self.attempts.set_most(tracking.max_attempts);
        self.max_unsaved = tracking.ledger.max_pending as u64;
        self.poll_at = 0;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, ComponentError> {
        self.spout.rest()?;
        // A position is JSON on the volume, too.
        Ok(self
            .spout
            .position()
            .map_or_else(Vec::new, |position| position.to_string().into_bytes()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        let position = serde_json::from_slice(snapshot)
            .map_err(|error| ComponentError::outside("read the position that was handed over", error))?;
        self.spout.resume(position)
    }

    fn take_over(&mut self, handed: &[Handed<'_>], _part: &Part) -> Result<(), ComponentError> {
        for numbering in by_numbering(handed) {
            let of = numbering.first().map_or(0, |one| one.of);
            let mut positions = vec![None; of as usize];
            for one in numbering {
                let position = serde_json::from_slice(one.state).map_err(|error| {
                    ComponentError::outside("read a position that was handed over", error)
                })?;
                if let Some(place) = positions.get_mut(one.index as usize) {
                    *place = Some(position);
                }
            }
            self.spout.resume_part(&positions)?;
        }
        Ok(())
    }

    fn finish(&mut self, _ledger: LedgerSettings) {}

    fn state(&self) -> TaskState {
        if self.ended && self.ledger.pending() == 0 && self.attempts.waiting() == 0 {
            TaskState::Drained
        } else {
            TaskState::Running
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    fn counts(&self) -> Counts {
        Counts {
            emitted: self.output.emitted,
            emitted_bytes: self.output.bytes(),
            dead: self.attempts.dead,
            pending: self.ledger.pending() as u64,
            ..self.counts
        }
    }

    fn is_pending(&self, group: GroupId, root: u8) -> bool {
        self.ledger.message(group, root).is_some()
    }

    fn take_latencies(&mut self) -> Vec<Latency> {
        std::mem::take(&mut self.latencies)
    }

    fn position(&self) -> Option<serde_json::Value> {
        self.spout.position()
    }

    fn unsaved(&self) -> u64 {
        self.counts.acked - self.saved_at
    }

    fn max_unsaved(&self) -> u64 {
        self.max_unsaved
    }

    fn saved(&mut self) {
        self.saved_at = self.counts.acked;
    }
}
