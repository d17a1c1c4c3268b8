//! The core of a bolt's task whose code runs in a program of its own.
//!
//! Owns: which frames are with the program, which tuples it holds, when a frame's roots are acked, what becomes of all of
//! it when the program dies. Leaves to others: the words ([`crate::component::script`]), the program's life (its host).
//!
//! A frame goes to the program as one batch, and is kept until the batch is answered; several are under way, so that the
//! program need not wait for this task. What it says is taken only while this task may run, that is while there is room
//! downstream; and while too much of that waits, the program is not read, and cannot go on.

#[cfg(test)]
mod tests;
mod work;

use std::sync::Weak;
use std::time::Duration;

use waterspout_core::finish::TaskState;
use waterspout_core::frame::Frame;
use waterspout_core::ledger::{LedgerEntry, LedgerSettings};

use super::bolt::Timer;
use super::finish::Finishing;
use super::{Counts, Handed, Latency, OUTPUT_BUDGET, Output, Part, Ran, TaskCore, Tracking};
use crate::component::ComponentError;
use crate::component::script::{Ask, Event, Host, Speak, gave_up};
use crate::gate::Wake;
use work::{Asked, Batch, Hold, Work};

/// Most batches that are under way.
const MAX_BATCHES: usize = 4;
/// Most messages that are read in one run.
const AT_ONCE: usize = 4096;

/// What a script's task is made with.
#[derive(Debug, Clone)]
pub(crate) struct ScriptSettings {
    /// The component's name.
    pub(crate) component: String,
    /// How long an answer may take, in microseconds.
    pub(crate) answer_micros: u64,
    /// How many tuples may be held.
    pub(crate) max_held: usize,
    /// The time between two ticks, in microseconds.
    pub(crate) tick_every: Option<u64>,
}

/// A bolt whose code runs in a program.
pub(crate) struct ScriptTask<S> {
    speaker: S,
    host: Host,
    settings: ScriptSettings,
    work: Work,
    /// The frame that is to go to the program next.
    current: Option<Frame>,
    /// The state that the program is to go on from.
    restored: Vec<u8>,
    paused: bool,
    active: bool,
    /// Whether a program that answers for each tuple was given some since it was last sounded out.
    given: bool,
    ticks: Option<Timer>,
    renewals: Timer,
}

impl<S: Speak> ScriptTask<S> {
    pub(crate) fn new(
        speaker: S,
        host: Host,
        settings: ScriptSettings,
        output: Output,
        tracking: Tracking,
    ) -> Self {
        // One that answers for each tuple writes much in little messages.
        host.gather(speaker.is_per_tuple());
        Self {
            speaker,
            host,
            work: Work::new(output, tracking.ledger.timeout_micros),
            current: None,
            restored: Vec::new(),
            paused: true,
            active: false,
            given: false,
            ticks: settings.tick_every.map(Timer::new),
            renewals: Timer::new(tracking.ledger.timeout_micros / 4),
            settings,
        }
    }

    /// Asks the program something, if it is there and the protocol has words for it. Whether it was asked.
    fn ask(&mut self, what: Ask<'_>, asked: Option<Asked>) -> bool {
        if !self.work.is_ready {
            return false;
        }
        let Some((message, answers)) = self.speaker.ask(self.host.open(), what) else {
            return false;
        };
        if let (true, Some(asked)) = (answers, asked) {
            self.await_answer(asked);
        }
        self.host.send(self.work.life, message);
        answers
    }

    fn await_answer(&mut self, asked: Asked) {
        if self.work.asked.is_empty() {
            self.work.waits_since = self.work.now;
        }
        self.work.asked.push_back(asked);
    }

    /// Takes what the program wrote, until there is nothing or enough was emitted. Whether there may be more.
    fn listen(&mut self) -> Result<bool, ComponentError> {
        let stop_at = self.work.output.bytes() + OUTPUT_BUDGET;
        // A program that logs without end must not keep the task from everything else.
        for _ in 0..AT_ONCE {
            if self.work.output.bytes() >= stop_at {
                break;
            }
            let Some(event) = self.host.take() else {
                return Ok(false);
            };
            match event {
                Event::Began(life) => {
                    self.work.life = life;
                    self.work.is_ready = false;
                    let hello = self.speaker.hello(self.host.open());
                    self.host.send(life, hello);
                }
                Event::Message(message) => self.hear(&message),
                Event::Died => {
                    self.work.is_ready = false;
                    self.work.fail_everything();
                }
                Event::GaveUp(why) => return Err(gave_up(&self.settings.component, why)),
            }
        }
        Ok(true)
    }

    fn hear(&mut self, message: &[u8]) {
        let was_ready = self.work.is_ready;
        if let Err(wrong) = self.speaker.hear(message, &mut self.work) {
            self.host.kill(self.work.life, wrong.to_string());
        }
        if let Some(error) = self.work.last_error.take() {
            self.host.said(error);
        }
        for reply in std::mem::take(&mut self.work.replies) {
            // It waits for this, and so it would for the next one.
            self.host.gather(false);
            let mut message = self.host.open();
            message.extend_from_slice(&reply);
            self.host.send(self.work.life, message);
        }
        if self.work.is_ready && !was_ready {
            self.host.is_ready();
            self.work.waits_since = self.work.now;
            self.hand_state_over();
        }
        if std::mem::take(&mut self.work.has_answered) {
            self.host.has_worked();
            // A later program does not go on from a state that this one has left behind.
            self.restored.clear();
        }
    }

    /// Gives a program that is ready the state that it is to go on from, if there is one.
    fn hand_state_over(&mut self) {
        if !self.restored.is_empty() {
            let restored = std::mem::take(&mut self.restored);
            self.ask(Ask::Restore(&restored), None);
            self.restored = restored;
        }
    }

    fn no_state(&self) -> ComponentError {
        ComponentError::Settings(format!(
            "the state that was handed over to component '{}' is none of a script",
            self.settings.component
        ))
    }

    /// Hands the frame at hand to the program, if it can take it.
    fn submit(&mut self) {
        let has_room = self.work.batches.len() < MAX_BATCHES && self.work.held.len() < self.settings.max_held;
        if self.current.is_none() || !self.work.is_ready || !has_room || self.host.is_full() {
            return;
        }
        let Some(frame) = self.current.take() else { return };
        let first = self.work.next_id;
        self.work.next_id += frame.rows() as u64;
        let message = self.speaker.batch(self.host.open(), &frame, first);
        if self.speaker.is_per_tuple() {
            self.given = true;
            self.work.executed += frame.rows() as u64;
            self.work.hold_all(&frame, first);
        } else {
            self.await_answer(Asked::Batch);
            self.work.batches.push_back(Batch {
                first,
                rows: frame.rows(),
                frame: Some(frame),
            });
        }
        self.host.send(self.work.life, message);
    }

    fn look_at_time(&mut self) {
        let now = self.work.now;
        if !self.active && !self.paused {
            self.paused = true;
            self.ask(Ask::Pause, Some(Asked::Pause));
        }
        let may_tick = self.work.finishing.is_none() && (self.active || self.work.holds.len() > 0);
        if may_tick
            && self.work.is_ready
            && !self.work.asked.contains(&Asked::Tick)
            && self.ticks.as_mut().is_some_and(|ticks| ticks.is_due(now))
        {
            self.ask(Ask::Tick, Some(Asked::Tick));
        }
        if self.work.holds.len() > 0 && self.renewals.is_due(now) {
            for root in self.work.holds.renewed() {
                self.work.output.renew_root(root);
            }
            self.expire();
        }
        let waits = now.saturating_sub(self.work.waits_since);
        if self.work.asked.is_empty() {
            if self.work.is_ready && waits >= self.settings.answer_micros / 3 {
                self.work.waits_since = now;
                self.ask(Ask::Ping, Some(Asked::Ping));
            }
        } else if waits >= self.settings.answer_micros {
            self.work.waits_since = now;
            let limit = Duration::from_micros(self.settings.answer_micros);
            self.host.kill(
                self.work.life,
                format!("it has not answered for {limit:?}; raise 'limits.answerTimeout' if it needs longer"),
            );
        }
    }

    /// All that the program holds was failed, and comes again.
    fn forget(&mut self) {
        let held: Vec<Hold> = self.work.held.drain().map(|(_, hold)| hold).collect();
        let were_some = !held.is_empty();
        for hold in held {
            hold.held.take();
        }
        self.work.holds.clear();
        if were_some {
            self.ask(Ask::Forget, None);
        }
    }

    /// Fails what a program that decides on each tuple has not decided on for longer than any root lives.
    fn expire(&mut self) {
        if !self.speaker.is_per_tuple() {
            return;
        }
        let before = self.work.now.saturating_sub(2 * self.work.timeout);
        let late: Vec<u64> = self
            .work
            .held
            .iter()
            .filter(|(_, hold)| hold.since < before)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(hold) = self.work.held.remove(&id) {
                self.work.release(hold.held, true);
            }
        }
    }

    fn next_time(&self) -> Option<u64> {
        let holds = self.work.holds.len() > 0;
        let ticks = self.ticks.as_ref().filter(|_| self.active || holds);
        let renewals = Some(&self.renewals).filter(|_| holds);
        let patience = match self.work.asked.is_empty() {
            true => self.settings.answer_micros / 3,
            false => self.settings.answer_micros,
        };
        let answer = self.work.is_ready.then_some(self.work.waits_since + patience);
        let timers = ticks.into_iter().chain(renewals).filter_map(Timer::at);
        timers.chain(answer).min()
    }

    fn go_on_finishing(&mut self) -> Result<(), ComponentError> {
        let Some(finishing) = &mut self.work.finishing else {
            return Ok(());
        };
        if !self.active {
            finishing.expire(self.work.now);
            return Ok(());
        }
        finishing.resend(&mut self.work.output, self.work.now)?;
        let is_due =
            finishing.wants_more() && self.work.is_ready && !self.work.asked.contains(&Asked::Finish);
        if is_due
            && !self.ask(Ask::Finish, Some(Asked::Finish))
            && let Some(finishing) = &mut self.work.finishing
        {
            // The protocol has no finish.
            finishing.has_emitted_all();
        }
        Ok(())
    }
}

impl<S: Speak + 'static> TaskCore for ScriptTask<S> {
    fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    fn awaits_program(&self) -> bool {
        !self.work.asked.is_empty() || !self.work.is_ready
    }

    fn sound_out(&mut self) -> bool {
        let asks = std::mem::take(&mut self.given) && self.work.is_ready;
        if asks {
            // It reads its messages in their order.
            self.ask(Ask::Ping, Some(Asked::Ping));
        }
        asks
    }

    fn wake_through(&mut self, task: Weak<dyn Wake>) {
        self.host.attach(task);
    }

    fn accept(&mut self, frame: Frame) {
        self.work.output.begin_frame();
        self.current = Some(frame);
    }

    fn run(&mut self, now: u64) -> Result<Ran, ComponentError> {
        self.work.now = now;
        self.work.output.set_time(now);
        let more = self.listen()?;
        self.look_at_time();
        let was_busy = self.current.is_some();
        self.submit();
        self.go_on_finishing()?;
        // There may be another frame: it is handed in before the next run.
        if more || was_busy && self.current.is_none() {
            return Ok(Ran::More);
        }
        let expiry = self
            .work
            .finishing
            .as_mut()
            .and_then(|finishing| finishing.expire(now));
        Ok(Ran::Idle(self.next_time().into_iter().chain(expiry).min()))
    }

    fn settle(&mut self, entries: &[LedgerEntry], now: u64) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.work.finishing {
            finishing.settle(entries, now);
        }
        Ok(())
    }

    fn fail_all(&mut self) -> Result<(), ComponentError> {
        if let Some(finishing) = &mut self.work.finishing {
            finishing.fail_all();
        }
        Ok(())
    }

    fn set_active(&mut self, active: bool) {
        self.active = active;
        if active && std::mem::take(&mut self.paused) {
            self.ask(Ask::Resume, None);
        }
    }

    fn renew(&mut self, tracking: Tracking) -> Result<(), ComponentError> {
        self.current = None;
        self.work.output.reset();
        self.work.timeout = tracking.ledger.timeout_micros;
        self.renewals = Timer::new(tracking.ledger.timeout_micros / 4);
        for batch in &mut self.work.batches {
            batch.frame = None;
        }
        self.forget();
        if let Some(finishing) = &mut self.work.finishing {
            finishing.renew(tracking.ledger);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, ComponentError> {
        self.forget();
        // Nothing of the program's is in work any more, but for what it still says.
        self.work.state = None;
        if !self.ask(Ask::Snapshot, Some(Asked::Snapshot)) {
            return Ok(self.restored.clone());
        }
        let life = self.work.life;
        let time = Duration::from_micros(self.settings.answer_micros);
        while self.work.state.is_none() && self.work.life == life && self.work.is_ready {
            if !self.host.wait(time) {
                self.host
                    .kill(life, format!("it has not given its state for {time:?}"));
                break;
            }
            self.listen()?;
        }
        self.work.state.take().map_or_else(|| Ok(Vec::new()), Ok)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ComponentError> {
        if crate::component::script::is_state(snapshot) {
            self.restored = snapshot.to_vec();
            // It may have started before the state came.
            if self.work.is_ready {
                self.hand_state_over();
            }
            return Ok(());
        }
        Err(self.no_state())
    }

    fn take_over(&mut self, handed: &[Handed<'_>], part: &Part) -> Result<(), ComponentError> {
        let own = crate::component::script::part_of(handed, part);
        let own = own.ok_or_else(|| self.no_state())?;
        self.restore(&own)
    }

    fn finish(&mut self, ledger: LedgerSettings) {
        if self.work.finishing.is_none() {
            self.work.output.emit_roots();
            self.work.finishing = Some(Finishing::new(ledger));
        }
    }

    fn state(&self) -> TaskState {
        match &self.work.finishing {
            None => TaskState::Running,
            Some(finishing) if finishing.is_done() => TaskState::Finished,
            Some(_) => TaskState::Finishing,
        }
    }

    fn output(&mut self) -> &mut Output {
        &mut self.work.output
    }

    fn counts(&self) -> Counts {
        let in_work: usize = self.work.batches.iter().map(|batch| batch.rows).sum();
        Counts {
            executed: self.work.executed,
            emitted: self.work.output.emitted,
            emitted_bytes: self.work.output.bytes(),
            held: self.work.holds.len() as u64,
            // What is with the program is in work, whatever this task does meanwhile.
            pending: self.work.finishing.as_ref().map_or(0, Finishing::pending) + in_work as u64,
            ..Counts::default()
        }
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
