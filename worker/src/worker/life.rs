//! What a worker does with news from its tasks and its peers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use waterspout_core::epoch::{Event, Hello, Message};
use waterspout_core::finish::{self, FinishStep, TaskState};
use waterspout_core::graph::ComponentId;
use waterspout_core::placement::WorkerIndex;

use super::control::Control;
use super::deaths;
use super::epochs::Epochs;
use super::farewell::Farewell;
use super::inbound::{News, NewsQueue};
use super::stuck::Stuck;
use super::{Ended, STATUS, WorkerError};
use crate::discovery::Discovery;
use crate::poison::Culprit;
use crate::rim::{Instant, Ticks};
use crate::runtime::{self, Command, Node, Published};
use crate::status::{Progress, StatusSource, WorkerStatus};
use crate::transport::{PeerId, Transport};
use crate::volume::Volume;

/// How often a worker looks after its tasks and its peers.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// How often positions and the status are written to the volume, at least.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// How long a worker that was told to end waits for others to say that they were, too.
const ALONE: Duration = Duration::from_secs(1);

/// A worker from its start to its end.
pub(super) struct Life<W> {
    me: PeerId,
    node: Arc<Node>,
    transport: Option<Arc<Transport>>,
    discovery: Discovery,
    volume: Volume,
    status: Arc<StatusSource>,
    watch: W,
    saved: Instant,
    /// The state of each task of the topology, as far as it is known here.
    states: Vec<TaskState>,
    up: BTreeMap<WorkerIndex, PeerId>,
    /// Peers that were told to end, with their roots in flight.
    leaving_peers: BTreeMap<WorkerIndex, u64>,
    leaving: Option<Leaving>,
    epochs: Epochs,
    /// What peers said when their side of the connection came up, before this side did.
    hellos: BTreeMap<WorkerIndex, (PeerId, Hello)>,
    /// The newest epoch that was known when those were greeted again that are not listened to.
    greeted_in: u64,
    /// The epoch that the states are of.
    states_of: u64,
    complete: bool,
    /// At the coordinator, once the topology is complete.
    farewell: Option<Farewell>,
    /// What the process before this one died of, for workers that it has not met yet.
    culprits: Vec<Culprit>,
    stuck: Stuck,
}

struct Leaving {
    by: Instant,
    /// Since when nothing is in flight at the spouts here.
    drained: Option<Instant>,
}

impl<W: FnMut(&WorkerStatus)> Life<W> {
    #[allow(clippy::too_many_arguments, reason = "called once, with what start-up made")]
    pub(super) fn new(
        me: PeerId,
        node: Arc<Node>,
        transport: Option<Arc<Transport>>,
        discovery: Discovery,
        epochs: Epochs,
        volume: Volume,
        status: Arc<StatusSource>,
        watch: W,
        culprits: Vec<Culprit>,
    ) -> Self {
        let states = vec![TaskState::Running; epochs.plan().graph().task_count() as usize];
        Self {
            me,
            node,
            transport,
            discovery,
            volume,
            status,
            watch,
            saved: Instant::now(),
            states,
            up: BTreeMap::new(),
            leaving_peers: BTreeMap::new(),
            leaving: None,
            epochs,
            hellos: BTreeMap::new(),
            greeted_in: 0,
            states_of: 0,
            complete: false,
            farewell: None,
            culprits,
            stuck: Stuck::default(),
        }
    }

    /// Lives until the topology is complete, the worker is told to end, or a task cannot go on.
    pub(super) async fn run(
        &mut self,
        shutdown: impl Future<Output = ()>,
        mut news: NewsQueue,
    ) -> Result<Ended, WorkerError> {
        let mut failures = self.node.failures();
        let mut ticks = Ticks::new(TICK);
        let mut shutdown = std::pin::pin!(shutdown);
        self.epochs.begin()?;
        loop {
            tokio::select! {
                biased;
                _ = failures.changed() => {
                    if let Some(failure) = failures.borrow_and_update().clone() {
                        self.status.failed(&failure);
                        self.publish()?;
                        return Err(failure.into());
                    }
                }
                () = &mut shutdown, if self.leaving.is_none() => self.leave(),
                () = ticks.tick() => self.look_after()?,
                Some(news) = news.next() => self.hear(news)?,
            }
            self.notice_epoch();
            if let Some(ended) = self.end() {
                self.publish()?;
                return Ok(ended);
            }
        }
    }

    /// With another epoch, other tasks run, and elsewhere.
    fn notice_epoch(&mut self) {
        let epoch = self.node.epoch();
        if epoch != self.states_of {
            self.states_of = epoch;
            self.states = vec![TaskState::Running; self.epochs.plan().placement().len()];
            self.avoid_absent();
        }
    }

    fn coordinator(&self) -> WorkerIndex {
        self.epochs.plan().plan().coordinator
    }

    fn is_coordinator(&self) -> bool {
        self.coordinator() == self.me.index
    }

    fn send(&self, to: WorkerIndex, message: &Control) {
        if let Some(transport) = &self.transport {
            transport.send_control(to, message.encode());
        }
    }

    fn send_to_all(&self, message: &Control) {
        for &peer in self.up.keys() {
            self.send(peer, message);
        }
    }

    fn hear(&mut self, news: News) -> Result<(), WorkerError> {
        match news {
            News::Up(peer) => self.connected(peer),
            News::Down(peer, reason) => self.disconnected(peer, &reason),
            News::Control(from, message) => match *message {
                Control::Hello { hello, answer } => {
                    if answer && self.up.get(&from.index) == Some(&from) {
                        self.send(
                            from.index,
                            &Control::Hello {
                                hello: self.epochs.hello(),
                                answer: false,
                            },
                        );
                    }
                    self.greet(from, hello)
                }
                Control::Epoch(message) => self.epochs.hear(from, message),
                Control::Copy(part) => self.epochs.hear_part(from, part),
                message => {
                    self.hear_of_tasks(from, message);
                    Ok(())
                }
            },
        }
    }

    fn connected(&mut self, peer: PeerId) -> Result<(), WorkerError> {
        tracing::info!(%peer, "connected");
        self.up.insert(peer.index, peer);
        let farewell = self.farewell.iter_mut();
        farewell.for_each(|farewell| farewell.came(peer.index));
        self.avoid_absent();
        if !self.culprits.is_empty() {
            // Before it sends anything here: it may be about to send the same again.
            self.send(peer.index, &Control::Died(self.culprits.clone()));
        }
        self.send(
            peer.index,
            &Control::Hello {
                hello: self.epochs.hello(),
                answer: true,
            },
        );
        match self.hellos.remove(&peer.index) {
            Some((from, hello)) if from == peer => self.greet(peer, hello),
            _ => Ok(()),
        }
    }

    /// Lets the machine know of a peer once both sides of the connection are up.
    fn greet(&mut self, peer: PeerId, hello: Hello) -> Result<(), WorkerError> {
        if self.up.get(&peer.index) != Some(&peer) {
            self.hellos.insert(peer.index, (peer, hello));
            return Ok(());
        }
        if self.epochs.is_linked(peer) {
            // It greets again, since it knows a newer plan.
            return self.epochs.hear(peer, Message::State(hello.state));
        }
        self.epochs.happen(Event::PeerUp {
            peer: peer.index,
            incarnation: peer.incarnation,
            hello,
        })
    }

    /// Greets those again that are connected and not listened to: a newer plan may name them.
    fn greet_again(&mut self) {
        let newest = self.epochs.newest();
        if newest == self.greeted_in {
            return;
        }
        self.greeted_in = newest;
        for peer in self.up.values().filter(|peer| !self.epochs.is_linked(**peer)) {
            let hello = self.epochs.hello();
            self.send(peer.index, &Control::Hello { hello, answer: true });
        }
    }

    fn disconnected(&mut self, peer: PeerId, reason: &str) -> Result<(), WorkerError> {
        let matters = self.epochs.runs(peer) && !self.complete;
        if matters {
            tracing::warn!(%peer, reason, "connection lost: spouts fail what is in flight");
        } else {
            tracing::info!(%peer, reason, "disconnected");
        }
        self.up.remove(&peer.index);
        self.leaving_peers.remove(&peer.index);
        self.epochs.forget_parts(peer);
        for task in self.tasks_at(peer.index) {
            self.states[task as usize] = TaskState::Running;
        }
        self.avoid_absent();
        if matters {
            self.node.lose();
            if let Some(transport) = &self.transport {
                transport.send_lost(peer);
            }
        }
        self.epochs.happen(Event::PeerLost {
            peer: peer.index,
            incarnation: peer.incarnation,
        })
    }

    fn hear_of_tasks(&mut self, from: PeerId, message: Control) {
        // One that has no part in what runs has nothing to say of it, whatever index it claims.
        if !self.epochs.runs(from) {
            return;
        }
        let from_coordinator = from.index == self.coordinator();
        match message {
            Control::Report { epoch, states } => {
                for (task, state) in states.into_iter().filter(|_| epoch == self.states_of) {
                    if self.epochs.plan().placement().get(task as usize) == Some(&from.index) {
                        self.states[task as usize] = state;
                    }
                }
            }
            Control::Leaving { pending } => {
                self.leaving_peers.insert(from.index, pending);
            }
            Control::Died(culprits) => deaths::tell_spouts(&self.node, culprits),
            Control::Finish(components) if from_coordinator => self.finish(&components),
            Control::Complete if from_coordinator => {
                self.complete = true;
                self.send(from.index, &Control::Told);
            }
            Control::Told => {
                let farewell = self.farewell.iter_mut();
                farewell.for_each(|farewell| farewell.answered(from.index));
            }
            other => tracing::warn!(%from, message = ?other, "only the coordinator may say this"),
        }
    }

    fn tasks_at(&self, worker: WorkerIndex) -> Vec<u32> {
        let placed = (0u32..).zip(self.epochs.plan().placement());
        let here = placed.filter(|(_, at)| **at == worker);
        here.map(|(task, _)| task).collect()
    }

    /// Lets shuffle go round tasks whose worker is away.
    fn avoid_absent(&self) {
        let placed = (0u32..).zip(self.epochs.plan().placement());
        let absent = placed.filter(|(_, at)| **at != self.me.index && !self.up.contains_key(at));
        let tasks: Vec<u32> = absent.map(|(task, _)| task).collect();
        self.node.command(&Command::Avoid(Arc::new(tasks)));
    }

    /// What is done every tick.
    fn look_after(&mut self) -> Result<(), WorkerError> {
        let limit = Duration::from_millis(self.epochs.plan().delivery().task_timeout_ms);
        if let Some(failure) = self.stuck.look(&self.node, limit, Instant::now()) {
            return Err(failure.into());
        }
        self.find_peers();
        if let Some(plan) = self.discovery.new_plan() {
            self.epochs.read(plan)?;
            self.status.set_plan(self.epochs.newest_plan());
        }
        self.greet_again();
        self.epochs.tick()?;
        self.notice_epoch();
        self.set_progress();
        self.look_after_tasks()?;
        if self.is_coordinator() && !self.complete {
            match finish::next(self.epochs.plan().graph(), &self.states) {
                FinishStep::Wait => {}
                FinishStep::Complete => self.complete = true,
                FinishStep::Finish(components) => {
                    self.finish(&components);
                    self.send_to_all(&Control::Finish(components));
                }
            }
        }
        self.tell_complete();
        if self.leaving.is_some() {
            // A start may have come in between.
            self.node.command(&Command::SetActive(false));
            self.send_to_all(&Control::Leaving {
                pending: self.pending(),
            });
        }
        Ok(())
    }

    /// Tells those that have not answered yet that the topology is complete.
    fn tell_complete(&mut self) {
        if self.complete && self.is_coordinator() {
            let farewell = self.farewell.get_or_insert_with(Farewell::begin);
            for index in farewell.missing(&self.up) {
                self.send(index, &Control::Complete);
            }
        }
    }

    fn find_peers(&self) {
        let Some(transport) = &self.transport else {
            return;
        };
        for index in self.epochs.peers() {
            if let Some(address) = self.discovery.find(index) {
                transport.set_peer(index, address);
            }
        }
    }

    /// Takes over the states of the tasks here, and tells the coordinator.
    fn look_after_tasks(&mut self) -> Result<(), WorkerError> {
        let seen: Vec<(u32, Published)> = self
            .node
            .slots()
            .map(|slot| (slot.task(), slot.published()))
            .collect();
        let news = seen
            .iter()
            .any(|(task, published)| published.state != self.states[*task as usize]);
        if !news && self.saved.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        self.saved = Instant::now();
        let report: Vec<_> = seen
            .iter()
            .map(|(task, published)| (*task, published.state))
            .collect();
        for &(task, state) in &report {
            self.states[task as usize] = state;
        }
        if !self.is_coordinator() {
            self.send(self.coordinator(), &Control::report(self.states_of, report));
        }
        self.node.slots().for_each(|slot| slot.want_position());
        self.publish()
    }

    fn finish(&self, components: &[ComponentId]) {
        for task in components
            .iter()
            .flat_map(|&component| self.epochs.plan().graph().tasks_of(component))
        {
            if let Some(slot) = self.node.slot(task)
                && slot.published().state == TaskState::Running
            {
                slot.command(Command::Finish(runtime::ledger(
                    self.epochs.plan(),
                    task,
                    self.me.incarnation.start,
                )));
            }
        }
    }

    fn leave(&mut self) {
        tracing::info!("told to end: spouts pause, and what is in flight is worked off");
        self.node.command(&Command::SetActive(false));
        let drain = Duration::from_millis(self.epochs.plan().delivery().drain_timeout_ms);
        self.leaving = Some(Leaving {
            by: Instant::now() + drain,
            drained: None,
        });
    }

    fn pending(&self) -> u64 {
        self.node
            .slots()
            .map(|slot| slot.published().counts.pending)
            .sum()
    }

    /// Whether nobody waits any more to be told that the topology is complete.
    fn have_parted(&mut self) -> bool {
        let Some(farewell) = &mut self.farewell else {
            return !self.is_coordinator();
        };
        let members = self.epochs.plan().plan().members.iter();
        let others = members
            .map(|member| member.index)
            .filter(|index| *index != self.me.index);
        farewell.is_over(others, &self.up, Instant::now())
    }

    /// Whether this is the end, and how.
    fn end(&mut self) -> Option<Ended> {
        if self.complete {
            let may_end = self.leaving.is_some() || !self.discovery.stays_when_complete();
            return (may_end && self.have_parted()).then_some(Ended::Complete);
        }
        let pending = self.pending();
        let others_drained = self
            .up
            .keys()
            .all(|index| self.leaving_peers.get(index) == Some(&0));
        let leaving = self.leaving.as_mut()?;
        if pending == 0 {
            let since = *leaving.drained.get_or_insert_with(Instant::now);
            if others_drained || since.elapsed() >= ALONE {
                return Some(Ended::Drained);
            }
        }
        (Instant::now() >= leaving.by).then_some(if pending == 0 {
            Ended::Drained
        } else {
            Ended::InFlight(pending)
        })
    }

    fn set_progress(&self) {
        let phase = match self.leaving {
            Some(_) => "Leaving".to_owned(),
            None => format!("{:?}", self.epochs.phase()),
        };
        self.status.set_progress(Progress {
            epoch: self.epochs.epoch(),
            started_epoch: self.epochs.started(),
            newest_epoch: self.epochs.newest(),
            phase,
            complete: self.complete,
        });
    }

    fn publish(&mut self) -> Result<(), WorkerError> {
        self.set_progress();
        let status = self.status.status();
        (self.watch)(&status);
        self.volume.write(STATUS, &status).map_err(Into::into)
    }
}
