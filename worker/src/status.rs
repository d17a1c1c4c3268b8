//! The status of a worker: what it publishes of itself to people, to the program that started it and to metrics.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use waterspout_core::finish::TaskState;
use waterspout_core::graph::{ComponentId, Graph};
use waterspout_core::plan::ParsedPlan;

use crate::capacity::Capacity;
use crate::component::{Components, Measures, Trouble, Troubles};
use crate::runtime::{Failure, Node, Published, Samples, Slot};
use crate::transport::{PeerId, PeerStatus, Transport};

/// The status of one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// The topology's name.
    pub topology: String,
    /// The worker's index.
    pub worker: u32,
    /// How often the worker's process has started.
    pub starts: u64,
    /// The pod that the process runs in, as plans name it.
    pub uid: u64,
    /// The epoch that runs here; 0 before the first.
    pub epoch: u64,
    /// The newest epoch that is known to be started; 0 if none is.
    pub started_epoch: u64,
    /// The epoch of the newest plan that is known here.
    pub newest_epoch: u64,
    /// Where the worker is in the moves of an epoch, such as `Running`.
    pub phase: String,
    /// Whether all bounded spouts have ended and all is worked off.
    pub complete: bool,
    /// Streams of others that were ended for what came on them.
    #[serde(default)]
    pub refused: u64,
    /// Spans of traces that were dropped.
    #[serde(default)]
    pub dropped_spans: u64,
    /// The tasks of this worker.
    pub tasks: Vec<TaskStatus>,
    /// What went wrong at tasks of this worker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// The other workers, as seen from here.
    pub peers: Vec<PeerStatus>,
}

/// The status of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// The component's name.
    pub component: String,
    /// The task's number.
    pub task: u32,
    /// How far it is on its way to the end.
    pub state: TaskState,
    /// Tuples worked on.
    pub executed: u64,
    /// Tuples emitted.
    pub emitted: u64,
    /// Their bytes, once for each task that one goes to.
    #[serde(default)]
    pub emitted_bytes: u64,
    /// Roots acked.
    pub acked: u64,
    /// Roots that a task failed.
    pub failed: u64,
    /// Roots that took too long.
    pub timed_out: u64,
    /// Roots that something was lost of, with a worker or an epoch.
    #[serde(default)]
    pub lost: u64,
    /// Roots that were given up after their last attempt.
    #[serde(default)]
    pub dead: u64,
    /// Roots that were given up and are kept, since nobody reads them.
    #[serde(default)]
    pub letters: u64,
    /// Tuples that a bolt holds.
    #[serde(default)]
    pub held: u64,
    /// Roots pending.
    pub pending: u64,
    /// Frames that wait in the inbox.
    pub inbox_frames: usize,
    /// Bytes that wait in the inbox.
    pub inbox_bytes: usize,
    /// Time spent working, in seconds.
    pub busy_seconds: f64,
    /// The share of the last ten seconds that it worked, 0 to 1.
    #[serde(default)]
    pub capacity: f64,
    /// How many tuples took how long to work on: a count for each of [`crate::runtime::EXECUTE_BOUNDS`], and one more for
    /// what took longer; empty if the task works on none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<u64>,
    /// Time spent on these tuples, in seconds.
    #[serde(default)]
    pub execute_seconds: f64,
    /// Emit to ack: pairs of microseconds and count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<(u64, u64)>,
}

/// What changes while a worker runs, besides its tasks.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// See [`WorkerStatus::epoch`].
    pub epoch: u64,
    /// See [`WorkerStatus::started_epoch`].
    pub started_epoch: u64,
    /// See [`WorkerStatus::newest_epoch`].
    pub newest_epoch: u64,
    /// See [`WorkerStatus::phase`].
    pub phase: String,
    /// See [`WorkerStatus::complete`].
    pub complete: bool,
}

/// Where the status of a worker is put together.
pub struct StatusSource {
    me: PeerId,
    topology: OnceLock<String>,
    node: OnceLock<Arc<Node>>,
    transport: OnceLock<Arc<Transport>>,
    progress: Mutex<Progress>,
    plan: Mutex<Option<Arc<ParsedPlan>>>,
    measures: Measures,
    capacity: Mutex<Capacity>,
    troubles: Troubles,
}

impl StatusSource {
    /// The status of a worker that has no plan yet, with what these components measure and what goes wrong at them.
    pub fn new(me: PeerId, components: &Components) -> Self {
        Self {
            me,
            topology: OnceLock::new(),
            node: OnceLock::new(),
            transport: OnceLock::new(),
            progress: Mutex::default(),
            plan: Mutex::default(),
            measures: components.measures().clone(),
            capacity: Mutex::default(),
            troubles: components.troubles().clone(),
        }
    }

    /// The metrics of the components' own code.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// The spouts' tasks here.
    pub(crate) fn spouts(&self) -> Vec<Arc<Slot>> {
        let slots = self.node.get().map(|node| node.slots()).into_iter().flatten();
        slots.filter(|slot| slot.letters().is_some()).collect()
    }

    /// Samples of what a component emits here; `None` if too many look on, or nothing runs yet.
    pub(crate) fn tap(&self, graph: &Graph, component: ComponentId, rate: u32) -> Option<Samples> {
        self.node.get()?.taps().open(graph, component, rate)
    }

    /// The newest plan that is known.
    pub(crate) fn parsed_plan(&self) -> Option<Arc<ParsedPlan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This plan is the newest one that is known.
    pub fn set_plan(&self, plan: &Arc<ParsedPlan>) {
        let _ = self.topology.set(plan.topology().to_owned());
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
    }

    /// The newest plan that is known, as it is written.
    pub fn plan(&self) -> Option<String> {
        self.parsed_plan().map(|plan| plan.plan().to_json())
    }

    /// From now on the status has the tasks of `node` and the peers of `transport`. The first call counts.
    pub fn attach(&self, node: &Arc<Node>, transport: Option<Arc<Transport>>) {
        let _ = self.node.set(Arc::clone(node));
        if let Some(transport) = transport {
            let _ = self.transport.set(transport);
        }
    }

    /// Publishes where the worker is.
    pub fn set_progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Whether a plan was read.
    pub fn is_ready(&self) -> bool {
        self.topology.get().is_some()
    }

    /// The failure that is about to end the process.
    pub fn failure(&self) -> Option<Failure> {
        self.node.get().and_then(|node| node.failures().borrow().clone())
    }

    /// Takes over what went wrong in the process before this one.
    pub fn recall(&self, before: WorkerStatus) {
        if before.uid == self.me.incarnation.uid {
            self.troubles.recall(before.troubles);
        }
    }

    /// A task ended the process.
    pub fn failed(&self, failure: &Failure) {
        let task = self.troubles.of(&failure.component, failure.task);
        // The program of a script has been counted by its host.
        if !task.is_failing() {
            task.ended(&failure.problem);
        }
    }

    /// The status now.
    pub fn status(&self) -> WorkerStatus {
        let progress = self
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        WorkerStatus {
            topology: self.topology.get().cloned().unwrap_or_default(),
            worker: self.me.index.0,
            starts: self.me.incarnation.start,
            uid: self.me.incarnation.uid,
            epoch: progress.epoch,
            started_epoch: progress.started_epoch,
            newest_epoch: progress.newest_epoch,
            phase: progress.phase,
            complete: progress.complete,
            refused: self.transport.get().map_or(0, |transport| transport.refused()),
            dropped_spans: self
                .node
                .get()
                .and_then(|node| node.traces())
                .map_or(0, |traces| traces.dropped()),
            tasks: self.node.get().map_or_else(Vec::new, |node| self.tasks(node)),
            troubles: self.troubles.all(),
            peers: self
                .transport
                .get()
                .map_or_else(Vec::new, |transport| transport.peers()),
        }
    }
}

impl StatusSource {
    fn tasks(&self, node: &Node) -> Vec<TaskStatus> {
        let slots: Vec<_> = node.slots().map(|slot| (slot.published(), slot)).collect();
        let busy = slots
            .iter()
            .map(|(published, slot)| (slot.task(), published.busy_micros));
        let busy = busy.collect();
        let mut capacity = self.capacity.lock().unwrap_or_else(PoisonError::into_inner);
        let capacities = capacity.look(node.clock().now(), busy);
        let status = |(published, slot): (Published, Arc<Slot>)| {
            let executions = &published.executions;
            let works = executions.counts.iter().any(|count| *count > 0);
            TaskStatus {
                component: slot.component().to_owned(),
                task: slot.task(),
                state: published.state,
                executed: published.counts.executed,
                emitted: published.counts.emitted,
                emitted_bytes: published.counts.emitted_bytes,
                acked: published.counts.acked,
                failed: published.counts.failed,
                timed_out: published.counts.timed_out,
                lost: published.counts.lost,
                dead: published.counts.dead,
                letters: slot.letters().map_or(0, |letters| letters.len() as u64),
                held: published.counts.held,
                pending: published.counts.pending,
                inbox_frames: slot.inbox().gate().frames(),
                inbox_bytes: slot.inbox().gate().bytes(),
                busy_seconds: published.busy_micros as f64 / 1e6,
                capacity: capacities.get(&slot.task()).copied().unwrap_or(0.0),
                execute_seconds: executions.micros as f64 / 1e6,
                executions: match works {
                    true => executions.counts.to_vec(),
                    false => Vec::new(),
                },
                latency: published.latency.values(),
            }
        };
        slots.into_iter().map(status).collect()
    }
}
