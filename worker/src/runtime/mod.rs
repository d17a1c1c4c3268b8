//! The runtime of one worker: its tasks, what runs them, and the ways between them.
//!
//! Owns: slots, the executor, the timer, delivery of frames and ledger entries to tasks here and elsewhere, what is
//! open for the next epoch (`change`). Leaves to others: what a task does ([`crate::task`]), how bytes travel
//! ([`crate::transport`]), when a topology starts, changes and ends ([`crate::worker`]). Invariant: delivery never
//! blocks.

mod change;
mod clock;
mod command;
mod executor;
mod freeze;
mod inbox;
mod label;
mod positions;
mod slot;
mod stats;
#[cfg(test)]
mod stepped;
mod tap;
mod timer;
mod wiring;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;
use waterspout_core::ledger::LedgerEntry;
use waterspout_core::placement::WorkerIndex;

pub use change::Start;
pub use clock::Clock;
pub use command::Command;
pub use inbox::{Delivery, INBOX_BYTES, INBOX_FRAMES};
pub use positions::Positions;
pub use slot::Slot;
pub use stats::{EXECUTE_BOUNDS, Latencies, Published};
pub use tap::{MAX_TAPS, Sample, Samples, Taps};
pub use wiring::{BuildError, Settings};
pub(crate) use wiring::{Host, ledger, make};

use crate::component::ComponentError;
use crate::gate::Wake;
use crate::task::TaskCore;
use crate::traces::{TaskTraces, Traces};
use crate::transport::{Origin, Transport};
use change::Opened;
use executor::Executor;
use timer::Timer;

/// A task that cannot go on. It ends the worker's process.
#[derive(Debug, Clone, Error)]
#[error("task {task} of component '{component}' {problem}")]
pub struct Failure {
    /// The component's name.
    pub component: String,
    /// The task's number.
    pub task: u32,
    /// What went wrong, with its cause.
    pub problem: String,
}

impl Failure {
    fn of_error(slot: &Slot, error: &ComponentError) -> Self {
        let cause = std::error::Error::source(error).map(crate::worker::chain);
        Self::new(slot, error.to_string(), cause)
    }

    fn of_panic(slot: &Slot, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Self::new(slot, format!("panicked: {text}"), None)
    }

    fn new(slot: &Slot, problem: String, cause: Option<String>) -> Self {
        let problem = match cause {
            Some(cause) => format!("failed: {problem}: {cause}"),
            None if problem.starts_with("panicked") => problem,
            None => format!("failed: {problem}"),
        };
        Self {
            component: slot.component().to_owned(),
            task: slot.task(),
            problem,
        }
    }
}

/// Where a task runs.
#[derive(Clone)]
enum Place {
    Here(Arc<Slot>),
    At(WorkerIndex),
}

impl Place {
    fn slot(&self) -> Option<&Arc<Slot>> {
        match self {
            Self::Here(slot) => Some(slot),
            Self::At(_) => None,
        }
    }
}

/// The tasks of one worker and the ways from them.
pub struct Node {
    clock: Clock,
    executor: Executor,
    timer: Arc<Timer>,
    positions: Positions,
    transport: Option<Arc<Transport>>,
    /// By task. Empty before the first epoch.
    places: ArcSwap<Vec<Place>>,
    /// Since when the tasks here are numbered as they are.
    since: AtomicU64,
    /// Tasks that are open and do not run yet, by numbering.
    opened: Mutex<BTreeMap<(u64, u32), Opened>>,
    /// The epoch that runs here; 0 before the first.
    epoch: AtomicU64,
    taps: Arc<Taps>,
    traces: OnceLock<Arc<Traces>>,
    failure: watch::Sender<Option<Failure>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Node {
    /// A node without tasks; [`Node::open`] makes them, and [`Node::commit`] lets them run.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        threads: usize,
        positions: Positions,
        transport: Option<Arc<Transport>>,
    ) -> std::io::Result<Arc<Self>> {
        let clock = Clock::start();
        let timer = Arc::new(Timer::new(clock));
        let executor = Executor::start(threads, Arc::clone(&timer))?;
        Ok(Self::of(clock, executor, timer, positions, transport))
    }

    fn of(
        clock: Clock,
        executor: Executor,
        timer: Arc<Timer>,
        positions: Positions,
        transport: Option<Arc<Transport>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            executor,
            timer,
            positions,
            transport,
            places: ArcSwap::default(),
            since: AtomicU64::new(0),
            opened: Mutex::default(),
            epoch: AtomicU64::new(0),
            taps: Arc::default(),
            traces: OnceLock::new(),
            failure: watch::Sender::new(None),
            threads: Mutex::default(),
        })
    }

    /// Traces what tasks do from now on that are not open yet.
    pub(crate) fn trace(&self, traces: Arc<Traces>) {
        // A node traces to one collector in its life.
        let _ = self.traces.set(traces);
    }

    /// The traces, if there are any.
    pub(crate) fn traces(&self) -> Option<&Arc<Traces>> {
        self.traces.get()
    }

    /// The clock of this worker.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Says when a task could not go on.
    pub fn failures(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    /// The tasks that run here.
    pub fn slots(&self) -> impl Iterator<Item = Arc<Slot>> + use<> {
        let places = self.places.load();
        let here: Vec<_> = places.iter().filter_map(Place::slot).cloned().collect();
        here.into_iter()
    }

    /// The epoch that runs here; 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The task with this number, if it runs here.
    pub fn slot(&self, task: u32) -> Option<Arc<Slot>> {
        self.places.load().get(task as usize)?.slot().cloned()
    }

    /// Tells every task here.
    pub fn command(&self, command: &Command) {
        for slot in self.slots() {
            slot.command(command.clone());
        }
    }

    /// Something was lost with a worker: every spout here fails what it has pending.
    pub fn lose(&self) {
        for slot in self.slots() {
            slot.lose();
        }
    }

    /// Hands a frame from another worker to its task.
    pub fn receive(&self, target: u32, delivery: Delivery) {
        if let Some(slot) = self.slot(target) {
            slot.inbox().push(delivery);
            slot.wake();
        }
    }

    /// Hands entries to the spouts that they are for, wherever they are.
    pub fn settle(&self, entries: &[LedgerEntry]) {
        let places = self.places.load();
        for run in entries.chunk_by(|a, b| a.group.spout == b.group.spout) {
            match places.get(run[0].group.spout as usize) {
                Some(Place::Here(slot)) => slot.push_entries(run),
                Some(Place::At(worker)) => {
                    if let Some(transport) = &self.transport {
                        transport.send_entries(*worker, run);
                    }
                }
                None => {}
            }
        }
    }

    /// Who looks on.
    pub fn taps(&self) -> &Arc<Taps> {
        &self.taps
    }

    fn executor(&self) -> &Executor {
        &self.executor
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Gives a worker credit for a frame that a task took from its inbox.
    fn consumed(&self, from: Origin, task: u32, bytes: usize) {
        if let Some(transport) = &self.transport {
            transport.consumed(from, task, bytes);
        }
    }

    /// Delivers what a task has shipped in `epoch`, and then what it has to tell the ledgers.
    fn deliver(&self, epoch: u64, core: &mut dyn TaskCore, mut traces: Option<&mut TaskTraces>) {
        let output = core.output();
        if let Some(shipped) = output.take_shipped() {
            let places = self.places.load();
            let mut woken: Option<&Arc<Slot>> = None;
            let is_tapped = self.taps.is_open();
            for shipped in shipped {
                if is_tapped {
                    self.taps.see(self.clock.now(), &shipped);
                }
                if let Some(traces) = traces.as_deref_mut() {
                    traces.emit(&shipped.frame, shipped.target);
                }
                // One that is over, since an epoch was taken meanwhile, may know of tasks that are not any more.
                let Some(place) = places.get(shipped.target as usize) else {
                    continue;
                };
                match place {
                    Place::Here(slot) => {
                        slot.inbox().push(Delivery {
                            frame: shipped.frame,
                            epoch,
                            from: None,
                        });
                        if let Some(before) = woken.replace(slot)
                            && !Arc::ptr_eq(before, slot)
                        {
                            before.wake();
                        }
                    }
                    Place::At(worker) => {
                        if let Some(transport) = &self.transport {
                            transport.send_frame(*worker, epoch, shipped.target, shipped.frame);
                        }
                    }
                }
            }
            if let Some(slot) = woken {
                slot.wake();
            }
        }
        if !output.entries().is_empty() {
            self.settle(output.entries());
            output.clear_entries();
        }
    }

    fn fail(&self, failure: Failure) {
        self.failure.send_if_modified(|first| {
            let new = first.is_none();
            first.get_or_insert(failure);
            new
        });
    }

    /// Stops all tasks where they are.
    pub fn stop(&self) {
        for slot in self.slots() {
            slot.stop();
        }
        self.close_opened();
        self.executor.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic of a task was caught and reported by its slot.
            let _ = thread.join();
        }
    }
}
