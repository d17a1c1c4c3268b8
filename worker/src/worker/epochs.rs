//! Drives the epoch machine: turns what happens into its events, and does the actions that come of them.
//!
//! This version runs one plan for all of a topology's life, so nothing is ever moved between workers: an action that
//! would do so ends the process with an error that says it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use waterspout_core::epoch::{Action, Config, Event, ExitReason, Hello, Machine, Message, Phase, Saved};
use waterspout_core::placement::WorkerIndex;
use waterspout_core::plan::ParsedPlan;

use super::WorkerError;
use super::control::Control;
use crate::runtime::{Command, Node};
use crate::transport::{PeerId, Transport};
use crate::volume::{Volume, VolumeError};

const FILE: &str = "epoch.json";
/// How soon a coordinator repeats what was not answered, in milliseconds.
const RETRY_MS: u64 = 200;

/// The machine of this process, also asked by what takes frames in.
pub(super) type SharedMachine = Arc<Mutex<Machine>>;

/// Makes the machine from what the processes before this one left on the volume.
pub(super) fn machine(me: PeerId, volume: &Volume) -> Result<SharedMachine, VolumeError> {
    let saved: Saved = volume.read(FILE)?.unwrap_or_default();
    let machine = Machine::new(me.index, me.incarnation, saved, Config { retry_ms: RETRY_MS });
    Ok(Arc::new(Mutex::new(machine)))
}

/// The machine and what it acts on.
pub(super) struct Epochs {
    machine: SharedMachine,
    began: Instant,
    plan: Arc<ParsedPlan>,
    node: Arc<Node>,
    transport: Option<Arc<Transport>>,
    volume: Volume,
}

impl Epochs {
    pub(super) fn new(
        machine: SharedMachine,
        plan: Arc<ParsedPlan>,
        node: Arc<Node>,
        transport: Option<Arc<Transport>>,
        volume: Volume,
    ) -> Self {
        Self {
            machine,
            began: Instant::now(),
            plan,
            node,
            transport,
            volume,
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
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
        self.happen(Event::Plan(self.plan.plan().head()))
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

    fn send(&self, to: WorkerIndex, message: Message) {
        if let Some(transport) = &self.transport {
            transport.send_control(to, Control::Epoch(message).encode());
        }
    }

    /// Does one action. What it is answered with, if at once.
    fn act(&self, action: Action) -> Result<Option<Event>, WorkerError> {
        match action {
            Action::Send { to, message } => self.send(to, message),
            Action::Save(saved) => self.volume.write(FILE, &saved)?,
            // All tasks of the one plan were made before the machine began.
            Action::Open(head) if head.epoch == self.plan.plan().epoch => {
                return Ok(Some(Event::Opened { epoch: head.epoch }));
            }
            Action::Open(head) => return Err(WorkerError::MovesTasks(head.epoch)),
            Action::Drain { ballot, .. }
            | Action::Snapshot { tag: ballot, .. }
            | Action::SendCopy { ballot, .. } => {
                return Err(WorkerError::MovesTasks(ballot.epoch));
            }
            Action::Install { ballot, tasks } => {
                if tasks.iter().any(|task| task.copy.is_some()) {
                    return Err(WorkerError::MovesTasks(ballot.epoch));
                }
                return Ok(Some(Event::Installed { ballot }));
            }
            Action::PauseSpouts => self.node.command(&Command::SetActive(false)),
            Action::StartSpouts => self.node.command(&Command::SetActive(true)),
            Action::Commit(committed) => {
                if let Some(transport) = &self.transport {
                    transport.set_epoch(committed.epoch().0);
                }
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
            // Nothing ran in this process before its one epoch, no copy is ever made, and the transport closes what
            // belongs to an older life of a peer by itself.
            Action::EmptyQueues { .. } | Action::DropCopies { .. } | Action::CloseOlder { .. } => {}
            Action::DropTasks => return Err(WorkerError::Over(ExitReason::Outlived)),
            Action::Exit(reason) => return Err(WorkerError::Over(reason)),
        }
        Ok(None)
    }
}
