//! A slot: one task with its inbox and its place in the schedule.
//!
//! Owns: when a task runs, what a slice is, and what is published of it. Leaves to others: what a task does
//! ([`crate::task`]), delivery to other slots and workers ([`super::Node`]). Invariants: at most one thread runs a
//! slot; a wake during a slice leads to another slice; a slice ends by itself; a task applies frames of its own epoch
//! only, and none while it is frozen.

mod mail;
mod time;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;

use waterspout_core::finish::TaskState;
use waterspout_core::ledger::LedgerEntry;

use super::command::Command;
use super::executor::hand_over;
use super::freeze::Freeze;
use super::inbox::Inbox;
use super::label::Label;
use super::stats::{Executions, Published};
use super::{Failure, Node};
use crate::component::ComponentError;
use crate::gate::{Gate, Wake};
use crate::mutation::{Mutation, lacks};
use crate::poison::{self, Cause, Place, Tally};
use crate::task::{Handed, Letters, MAX_OPEN_MICROS, Part, Ran, TaskCore};
use crate::traces::TaskTraces;

/// How long a slice lasts before others get their turn, in microseconds.
const SLICE_MICROS: u64 = 1_000;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
/// Running, and woken meanwhile.
const AGAIN: u8 = 3;

/// The part of a slot that only a slice touches.
struct Running {
    core: Box<dyn TaskCore>,
    executions: Executions,
    epoch: u64,
    downstream: Vec<Arc<Gate>>,
    traces: Option<TaskTraces>,
}

/// One task of this worker.
pub struct Slot {
    task: u32,
    /// Since when tasks are numbered as this one is.
    since: u64,
    component: String,
    /// What it has given up, if it is a spout.
    letters: Option<Letters>,
    node: Weak<Node>,
    this: Weak<Slot>,
    running: Mutex<(Label, Running)>,
    state: AtomicU8,
    /// Set for a task with a thread of its own.
    thread: OnceLock<Thread>,
    own_thread: bool,
    /// Where the task says which tuple it is at.
    place: Option<Place>,
    stopped: AtomicBool,
    inbox: Inbox,
    entries: Mutex<Vec<LedgerEntry>>,
    commands: Mutex<Vec<Command>>,
    has_mail: AtomicBool,
    lost: AtomicBool,
    freeze: Freeze,
    /// Counts slices.
    slices: AtomicU64,
    timer_at: AtomicU64,
    wants_position: AtomicBool,
    published: Mutex<Published>,
}

impl Slot {
    /// A slot around a task.
    pub(super) fn new(
        node: Weak<Node>,
        label: Label,
        since: u64,
        own_thread: bool,
        mut core: Box<dyn TaskCore>,
        traces: Option<TaskTraces>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            core.wake_through(Weak::clone(this) as Weak<dyn Wake>);
            Self {
                task: label.task(),
                since,
                component: label.component().to_owned(),
                letters: core.letters(),
                node,
                this: Weak::clone(this),
                place: core.place(),
                running: Mutex::new((
                    label,
                    Running {
                        core,
                        executions: Executions::default(),
                        epoch: 0,
                        downstream: Vec::new(),
                        traces,
                    },
                )),
                state: AtomicU8::new(IDLE),
                thread: OnceLock::new(),
                own_thread,
                stopped: AtomicBool::new(false),
                inbox: Inbox::new(),
                entries: Mutex::default(),
                commands: Mutex::default(),
                has_mail: AtomicBool::new(false),
                lost: AtomicBool::new(false),
                freeze: Freeze::new(),
                slices: AtomicU64::new(0),
                timer_at: AtomicU64::new(u64::MAX),
                wants_position: AtomicBool::new(false),
                published: Mutex::new(Published::default()),
            }
        })
    }

    /// The task's number.
    pub fn task(&self) -> u32 {
        self.task
    }

    /// The name of the task's component.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Frames that wait for the task.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Hands a task that has not run yet the state that it goes on from.
    ///
    /// # Errors
    /// If the component refuses it.
    pub fn restore(&self, snapshot: &[u8]) -> Result<(), ComponentError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.core.restore(snapshot)
    }

    /// Hands a task that has not run yet its part of what the tasks before it kept.
    ///
    /// # Errors
    /// If the component refuses it.
    pub fn take_over(&self, handed: &[Handed<'_>], part: &Part) -> Result<(), ComponentError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.core.take_over(handed, part)
    }

    /// Where a task that has not run yet goes on; nothing if that is not known here.
    pub fn position(&self) -> Option<serde_json::Value> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.core.position()
    }

    /// Lets a task that has not run yet forget all keys but these.
    pub fn keep_keys(&self, is_own: &dyn Fn(&[u8]) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.core.keep_keys(is_own);
    }

    /// Tells a task that has not run yet what processes before this one died of.
    pub fn know(&self, tallies: &[Tally]) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.1.core.know(tallies);
    }

    /// Where the task says which tuple it is at.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Asks the task to stop between two tuples and to keep its state; see [`Slot::frozen`].
    pub fn freeze(&self) {
        self.freeze.ask();
        self.wake();
    }

    /// The state of a frozen task; empty if it has none.
    pub fn frozen(&self) -> Option<Arc<[u8]>> {
        self.freeze.done()
    }

    /// Lets a frozen task go on: it stays.
    pub fn thaw(&self) {
        self.freeze.end();
        self.wake();
    }

    /// How many slices it had, if it has nothing to do until something new comes; roots in flight count as work. A frozen
    /// task does nothing whatever comes.
    pub fn quiet_since(&self) -> Option<u64> {
        let slices = self.slices.load(Ordering::SeqCst);
        let is_idle = self.state.load(Ordering::SeqCst) == IDLE
            && !self.has_mail.load(Ordering::SeqCst)
            && self.inbox.gate().frames() == 0;
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = is_idle && !published.is_busy && published.counts.pending == 0;
        (is_quiet || self.frozen().is_some()).then_some(slices)
    }

    /// What the task has given up and nobody reads, if it is a spout.
    pub fn letters(&self) -> Option<&Letters> {
        self.letters.as_ref()
    }

    /// Asks the task to save its position soon.
    pub fn want_position(&self) {
        self.wants_position.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// What the task published last.
    pub fn published(&self) -> Published {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the task where it is.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        self.wake();
    }

    fn queue(&self) {
        if self.own_thread {
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        } else if let (Some(node), Some(this)) = (self.node.upgrade(), self.this.upgrade()) {
            node.executor().push(this);
        }
    }

    /// Runs one slice.
    pub fn run(&self) {
        let Some(node) = self.node.upgrade() else { return };
        self.state.store(RUNNING, Ordering::SeqCst);
        self.slices.fetch_add(1, Ordering::SeqCst);
        match self.run_slice(&node) {
            Ok(Ok(true)) => {
                self.state.store(QUEUED, Ordering::SeqCst);
                self.queue();
            }
            Ok(Ok(false)) => {
                if self
                    .state
                    .compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::SeqCst)
                    .is_err()
                {
                    self.state.store(QUEUED, Ordering::SeqCst);
                    self.queue();
                }
            }
            Ok(Err(error)) => node.fail(Failure::of_error(self, &error)),
            Err(panic) => node.fail(Failure::of_panic(self, &*panic)),
        }
    }

    /// A slice under the task's name, and what it panicked with.
    fn run_slice(&self, node: &Arc<Node>) -> std::thread::Result<Result<bool, ComponentError>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (label, running) = &mut *running;
        let _span = label.renewed_span().enter();
        poison::run_at(self.place);
        let slice = std::panic::catch_unwind(AssertUnwindSafe(|| self.slice(node, running)));
        match slice {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => poison::mark_here(Cause::Error),
            Err(_) => poison::mark_here(Cause::Panicked),
        }
        poison::run_at(None);
        slice
    }

    /// Works until there is nothing to do (false) or time is up (true).
    fn slice(&self, node: &Arc<Node>, running: &mut Running) -> Result<bool, ComponentError> {
        if self.stopped.load(Ordering::SeqCst) {
            self.drop_inbox(node);
            return Ok(false);
        }
        let start = node.clock().now();
        let mut now = start;
        let mut wake_at = None;
        let more = loop {
            if self.freeze.look(|| running.core.snapshot())? {
                return Ok(false);
            }
            self.read_mail(running, now)?;
            if self.is_gated(&running.downstream) {
                running.core.output().flush();
                break false;
            }
            if !running.core.is_busy() {
                self.accept(node, running);
            }
            let core = running.core.as_mut();
            let ran = core.run(now)?;
            let before = std::mem::replace(&mut now, node.clock().now());
            core.took(now - before);
            if let Some(traces) = &mut running.traces
                && !core.is_busy()
            {
                traces.end();
            }
            running.executions.ran(core.counts().executed, now - before);
            if let Ran::Idle(at) = ran {
                core.output().flush();
                wake_at = at;
                break false;
            }
            if core.output().is_older_than(now.saturating_sub(MAX_OPEN_MICROS)) {
                core.output().flush();
            }
            node.deliver(running.epoch, running.core.as_mut(), running.traces.as_mut());
            if now - start >= SLICE_MICROS {
                break true;
            }
        };
        if let Some(at) = wake_at {
            self.wake_later(node, at);
        }
        let mut deliver = || node.deliver(running.epoch, running.core.as_mut(), running.traces.as_mut());
        if self.own_thread {
            deliver();
        } else {
            hand_over(deliver);
        }
        Self::settle_traces(running);
        self.publish(node, running, now - start)?;
        Ok(more)
    }

    /// Drops what waits for a task that is over. Those who sent it get their credit back: the task may come again.
    fn drop_inbox(&self, node: &Node) {
        while let Some(delivery) = self.inbox.pop(u64::MAX) {
            if let Some(from) = delivery.from {
                node.consumed(from, self.task, delivery.frame.weight());
            }
        }
    }

    /// Takes the next frame of the task's epoch. Older ones are dropped: their roots are failed.
    fn accept(&self, node: &Node, running: &mut Running) {
        while let Some(delivery) = self.inbox.pop(running.epoch) {
            if let Some(from) = delivery.from {
                node.consumed(from, self.task, delivery.frame.weight());
            }
            if delivery.epoch == running.epoch || lacks(Mutation::NoFence) {
                if let Some(traces) = &mut running.traces {
                    traces.begin(&delivery.frame);
                }
                running.core.accept(delivery.frame);
                return;
            }
        }
    }

    /// Whether a queue downstream is full; then this slot is woken when there is room.
    fn is_gated(&self, gates: &[Arc<Gate>]) -> bool {
        gates.iter().any(|gate| {
            gate.is_closed() && {
                let waiter: Option<Arc<dyn Wake>> = self.this.upgrade().map(|this| this as Arc<dyn Wake>);
                waiter.is_some_and(|waiter| gate.wait(&waiter))
            }
        })
    }

    /// Publishes what the slice came to. A spout counts as drained only once its position is saved.
    fn publish(
        &self,
        node: &Arc<Node>,
        running: &mut Running,
        busy_micros: u64,
    ) -> Result<(), ComponentError> {
        let core = running.core.as_mut();
        let state = core.state();
        let latencies = core.take_latencies();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let drained = state == TaskState::Drained && published.state != state;
        let asked = self.wants_position.swap(false, Ordering::SeqCst);
        if drained || (asked && core.unsaved() > 0) || core.unsaved() >= core.max_unsaved() {
            if let Some(position) = core.position() {
                node.positions
                    .save((self.since, self.task), &position)
                    .map_err(|error| ComponentError::outside("keep the position", error))?;
            }
            core.saved();
        }
        if let Some(tallies) = core.tallies() {
            node.positions
                .save_tallies((self.since, self.task), &tallies)
                .map_err(|error| ComponentError::outside("keep what processes died of", error))?;
        }
        published.counts = core.counts();
        published.is_busy = core.is_busy();
        published.busy_micros += busy_micros;
        published.executions.clone_from(&running.executions);
        for (count, micros) in latencies {
            published.latency.record(micros, u64::from(count));
        }
        published.state = state;
        Ok(())
    }
}

impl Wake for Slot {
    fn wake(&self) {
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => AGAIN,
                _ => return,
            };
            match self
                .state
                .compare_exchange(state, next, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(IDLE) => return self.queue(),
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}
