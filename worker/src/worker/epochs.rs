//! Drives the epoch machine: turns what happens into its events, and does the actions that come of them.
//!
//! Owns: which plan runs here, a drain and a freeze under way, the copies of tasks that move. Leaves to others: the rules
//! (`waterspout_core::epoch`), the tasks ([`crate::runtime`]), the bytes ([`crate::transport`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waterspout_core::epoch::{
    Action, Ballot, Config, CopyId, Epoch, Event, Hello, Installation, Machine, Message, Phase, PlanHead,
    Saved, TaskId, Traffic,
};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use super::control::{Control, CopyPart};
use super::copies::Copies;
use super::inheriting::Inheriting;
use super::{WorkerError, inbound};
use crate::mutation::{Mutation, lacks};
use crate::rim::Instant;
use crate::runtime::{Command, Node, Settings};
use crate::transport::{PeerId, Transport};
use crate::volume::{Volume, VolumeError};

const FILE: &str = "epoch.json";
/// How soon a coordinator repeats what was not answered, in milliseconds.
const RETRY_MS: u64 = 200;

/// The machine of this process, also asked by what takes frames in.
pub(crate) type SharedMachine = Arc<Mutex<Machine>>;

/// Makes the machine from what the processes before this one left on the volume.
pub(super) fn machine(me: PeerId, volume: &Volume) -> Result<SharedMachine, VolumeError> {
    let saved: Saved = volume.read(FILE)?.unwrap_or_default();
    let machine = Machine::new(me.index, me.incarnation, saved, Config { retry_ms: RETRY_MS });
    Ok(Arc::new(Mutex::new(machine)))
}

/// Since when tasks were numbered as they were in the process before this one.
pub(super) fn numbered_since(volume: &Volume) -> Result<u64, VolumeError> {
    let saved: Saved = volume.read(FILE)?.unwrap_or_default();
    Ok(saved
        .committed
        .map_or(0, |committed| committed.plan.numbers.since.0))
}

/// A drain under way.
struct Draining {
    ballot: Ballot,
    wave: u32,
    by: Instant,
    /// The time ran out: what was left was failed.
    failed: bool,
    answered: bool,
}

/// A freeze under way.
struct Freezing {
    tasks: Vec<u32>,
    /// Since when they are numbered so.
    since: Epoch,
    tag: Ballot,
}

/// The machine and what it acts on.
pub(super) struct Epochs {
    machine: SharedMachine,
    began: Instant,
    /// The newest plan that was read as a whole. The heads that peers know fit its graph.
    newest: Arc<ParsedPlan>,
    /// The plan that runs, or the newest one before any runs.
    plan: Arc<ParsedPlan>,
    node: Arc<Node>,
    transport: Option<Arc<Transport>>,
    volume: Volume,
    settings: Settings,
    draining: Option<Draining>,
    freezing: Option<Freezing>,
    inheriting: Option<Inheriting>,
    copies: Copies,
}

impl Epochs {
    pub(super) fn new(
        machine: SharedMachine,
        plan: Arc<ParsedPlan>,
        node: Arc<Node>,
        transport: Option<Arc<Transport>>,
        volume: Volume,
        settings: Settings,
    ) -> Self {
        Self {
            machine,
            began: Instant::now(),
            newest: Arc::clone(&plan),
            plan,
            node,
            transport,
            volume,
            settings,
            draining: None,
            freezing: None,
            inheriting: None,
            copies: Copies::default(),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The plan that runs here, or the newest one before any runs.
    pub(super) fn plan(&self) -> &Arc<ParsedPlan> {
        &self.plan
    }

    /// The newest plan that was read.
    pub(super) fn newest_plan(&self) -> &Arc<ParsedPlan> {
        &self.newest
    }

    /// Begins with what was saved, and reads the plan.
    pub(super) fn begin(&mut self) -> Result<(), WorkerError> {
        let actions = self.machine().begin(self.now());
        let mut answers = VecDeque::new();
        for action in actions {
            answers.extend(self.act(action)?);
        }
        for answer in answers {
            self.happen(answer)?;
        }
        self.happen(Event::Plan(self.newest.plan().head()))
    }

    /// Takes in a plan that was read. One of another graph is not for this process.
    pub(super) fn read(&mut self, plan: ParsedPlan) -> Result<(), WorkerError> {
        let (mine, other) = (self.newest.plan(), plan.plan());
        if mine.revision != other.revision || !mine.graph.is_but_for_numbers(&other.graph) {
            tracing::error!(
                revision = other.revision,
                "the new plan is of another revision; this worker keeps to its own"
            );
            return Ok(());
        }
        if mine.epoch > other.epoch {
            return Ok(());
        }
        let head = other.head();
        tracing::info!(epoch = head.epoch.0, workers = head.members.len(), "read a plan");
        self.newest = Arc::new(plan);
        self.happen(Event::Plan(head))
    }

    /// Takes in what happened and does what follows.
    pub(super) fn happen(&mut self, event: Event) -> Result<(), WorkerError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            let actions = self.machine().step(now, event);
            for action in actions {
                events.extend(self.act(action)?);
            }
        }
        Ok(())
    }

    /// Looks after what takes time, and lets the machine know that time goes by.
    pub(super) fn tick(&mut self) -> Result<(), WorkerError> {
        if let Some(event) = self.look_after_drain() {
            self.happen(event)?;
        }
        if let Some(event) = self.look_after_freeze() {
            self.happen(event)?;
        }
        if let Some(event) = self.look_after_inheritance()? {
            self.happen(event)?;
        }
        self.happen(Event::Tick)
    }

    pub(super) fn hear(&mut self, from: PeerId, message: Message) -> Result<(), WorkerError> {
        self.happen(Event::Message {
            from: from.index,
            incarnation: from.incarnation,
            message,
        })
    }

    pub(super) fn hello(&self) -> Hello {
        self.machine().hello()
    }

    pub(super) fn phase(&self) -> Phase {
        self.machine().phase()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.machine().epoch().0
    }

    /// The newest epoch that is known to be started; 0 if none is.
    pub(super) fn started(&self) -> u64 {
        let machine = self.machine();
        if machine.is_started() {
            machine.epoch().0
        } else {
            0
        }
    }

    /// The epoch of the newest plan that is known.
    pub(super) fn newest(&self) -> u64 {
        self.machine().newest_plan().map_or(0, |plan| plan.epoch.0)
    }

    /// Whether a worker that there is a connection to is listened to.
    pub(super) fn is_linked(&self, worker: PeerId) -> bool {
        self.machine().is_linked(worker.index, worker.incarnation)
    }

    /// Whether a worker has a part in the epoch that runs here.
    pub(super) fn runs(&self, worker: PeerId) -> bool {
        inbound::runs(&self.machine(), worker)
    }

    /// The workers to keep connections to.
    pub(super) fn peers(&self) -> Vec<WorkerIndex> {
        self.machine().peers().into_iter().collect()
    }

    fn send(&self, to: WorkerIndex, message: &Control) {
        if let Some(transport) = &self.transport {
            transport.send_control(to, message.encode());
        }
    }

    /// The plan of `head`, as a whole.
    fn whole(&self, head: &PlanHead) -> Result<ParsedPlan, WorkerError> {
        self.newest
            .with_head(head)
            .map_err(|source| WorkerError::UseHead {
                epoch: head.epoch.0,
                source,
            })
    }

    fn look_after_drain(&mut self) -> Option<Event> {
        let is_one_away = self.machine().lacks_a_worker();
        let draining = self.draining.as_mut().filter(|draining| !draining.answered)?;
        let is_late = Instant::now() >= draining.by;
        if !draining.failed && (is_late || is_one_away) {
            // What waits for a worker that is gone would wait for as long as a drain may take.
            let why = if is_late {
                "it took too long"
            } else {
                "a worker is away"
            };
            tracing::warn!("the drain ends, since {why}: what is in flight is failed, and emitted again");
            draining.failed = true;
            self.node.lose();
        }
        let count = || {
            self.transport
                .as_ref()
                .map(|transport| transport.traffic())
                .unwrap_or_default()
        };
        // Counted before and after: what was handed in by the first count is worked off, what was sent by the second is
        // all there is.
        let traffic = count();
        let pending: u64 = self
            .node
            .slots()
            .map(|slot| slot.published().counts.pending)
            .sum();
        let done = if lacks(Mutation::NoDrain) {
            true
        } else if draining.failed {
            pending == 0
        } else {
            self.node.is_quiet() && traffic == count()
        };
        if !done {
            return None;
        }
        draining.answered = true;
        let traffic = traffic
            .into_iter()
            .filter(|_| !lacks(Mutation::NoDrain))
            .map(|(peer, (sent, received))| Traffic {
                peer: peer.index,
                incarnation: peer.incarnation,
                sent,
                received,
            })
            .collect();
        Some(Event::Drained {
            ballot: draining.ballot,
            wave: draining.wave,
            complete: !draining.failed,
            traffic,
        })
    }

    fn look_after_freeze(&mut self) -> Option<Event> {
        let freezing = self.freezing.as_ref()?;
        let states = self.node.frozen(&freezing.tasks)?;
        let (since, tag) = (freezing.since, freezing.tag);
        self.freezing = None;
        for (task, state) in states {
            let copy = CopyId {
                task: TaskId(task),
                since,
                tag,
            };
            self.copies.keep(copy, state);
        }
        Some(Event::Snapshotted { ballot: tag })
    }

    /// Opens the tasks of a plan. If they take something over from another revision, they are open once that is here.
    fn open(&mut self, head: &PlanHead) -> Result<Option<Event>, WorkerError> {
        let plan = self.whole(head)?;
        self.node.open(&plan, &self.settings)?;
        // Who joins what runs already is too late for it.
        let inherits = head
            .inherits
            .as_ref()
            .filter(|_| !self.machine().has_committed(head.epoch));
        self.inheriting = match (inherits, &self.transport) {
            (Some(inherits), Some(transport)) => {
                Some(Inheriting::begin(transport, plan, inherits, self.settings.me))
            }
            _ => return Ok(Some(Event::Opened { epoch: head.epoch })),
        };
        Ok(None)
    }

    fn look_after_inheritance(&mut self) -> Result<Option<Event>, WorkerError> {
        let Some(starts) = self.inheriting.as_mut().and_then(Inheriting::arrived) else {
            return Ok(None);
        };
        let Some(Inheriting { plan, .. }) = self.inheriting.take() else {
            return Ok(None);
        };
        for (task, (by_key, states)) in &starts {
            self.node.inherit(&plan, &self.settings, *task, states, *by_key)?;
        }
        let epoch = plan.plan().epoch;
        Ok(Some(Event::Opened { epoch }))
    }

    /// Takes in a part of a copy.
    pub(super) fn hear_part(&mut self, from: PeerId, part: CopyPart) -> Result<(), WorkerError> {
        if !inbound::is_named(&self.machine(), from) || !self.copies.take(from, &part) {
            return Ok(());
        }
        self.happen(Event::CopyArrived {
            from: from.index,
            incarnation: from.incarnation,
            ballot: part.ballot,
            copy: part.copy,
        })
    }

    /// Forgets the parts of copies from a peer that is gone: it sends them again.
    pub(super) fn forget_parts(&mut self, from: PeerId) {
        self.copies.forget_parts(from);
    }

    /// Prepares tasks of a plan. Those that took something over from another revision have it.
    fn install(&mut self, head: &PlanHead, tasks: &[Installation]) -> Result<(), WorkerError> {
        let plan = self.whole(head)?;
        for installation in tasks {
            let task = installation.task;
            if self.node.is_heir(&plan, task.0) {
                continue;
            }
            let start = self.copies.start(head, installation);
            self.node.install(&plan, &self.settings, task.0, &start)?;
        }
        Ok(())
    }

    /// Does one action. What it is answered with, if at once.
    fn act(&mut self, action: Action) -> Result<Option<Event>, WorkerError> {
        match action {
            Action::Send { to, message } => self.send(to, &Control::Epoch(message)),
            Action::Save(saved) => self.volume.write(FILE, &saved)?,
            Action::Open(head) => return self.open(&head),
            Action::Drain {
                ballot,
                wave,
                timeout_ms,
            } => {
                let before = self.draining.take().filter(|draining| draining.ballot == ballot);
                let (by, failed) = before.map_or_else(
                    || (Instant::now() + Duration::from_millis(timeout_ms), false),
                    |before| (before.by, before.failed),
                );
                self.draining = Some(Draining {
                    ballot,
                    wave,
                    by,
                    failed,
                    answered: false,
                });
            }
            Action::Snapshot { tasks, since, tag } => {
                let tasks: Vec<u32> = tasks.iter().map(|task| task.0).collect();
                self.node.freeze(&tasks);
                self.freezing = Some(Freezing { tasks, since, tag });
            }
            Action::SendCopy { to, ballot, copy } => {
                for part in self.copies.parts(copy, ballot) {
                    self.send(to, &Control::Copy(part));
                }
            }
            Action::Install { ballot, plan, tasks } => {
                self.install(&plan, &tasks)?;
                return Ok(Some(Event::Installed { ballot }));
            }
            Action::PauseSpouts => self.node.command(&Command::SetActive(false)),
            Action::StartSpouts => {
                tracing::info!(epoch = self.epoch(), "started");
                self.node.command(&Command::SetActive(true));
            }
            Action::Commit(committed) => {
                let plan = self.whole(&committed.plan)?;
                self.draining = None;
                self.freezing = None;
                self.node.commit(&plan, &self.settings)?;
                if committed.plan.rests {
                    self.node.freeze(&self.node.tasks());
                }
                tracing::info!(epoch = committed.epoch().0, "took the epoch");
                self.plan = Arc::new(plan);
            }
            Action::PeerRuns { peer, incarnation } => {
                if let Some(transport) = &self.transport {
                    transport.allow(PeerId {
                        index: peer,
                        incarnation,
                    });
                }
            }
            Action::Refuse { peer, refusal, .. } => {
                tracing::warn!(worker = peer.0, %refusal, "refused a worker")
            }
            // Tasks and receivers drop what is of another epoch wherever they meet it.
            Action::EmptyQueues { below } => {
                if let Some(transport) = &self.transport {
                    transport.set_epoch(below.0);
                }
            }
            Action::DropCopies { through } => self.copies.drop_through(through),
            // The transport closes what belongs to an older life of a peer by itself.
            Action::CloseOlder { .. } => {}
            Action::DropTasks => {
                tracing::warn!("the other workers went on without this one: its tasks are dropped");
                self.copies.drop_all();
                self.draining = None;
                self.freezing = None;
                self.node.drop_tasks();
            }
            Action::Exit(reason) => return Err(WorkerError::Over(reason)),
        }
        Ok(None)
    }
}
