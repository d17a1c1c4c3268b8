//! The machine of one worker: its memory, its one entrance, its answers to questions.
//!
//! Owns: the fields, the dispatch of events, learning plans, saving. Leaves to others: [`super::peers`],
//! [`super::member`], [`super::coordinator`], which are the same struct's moves in these three roles.
//!
//! Invariants: no I/O, no clock, no randomness; the same events give the same actions. Nothing that a peer says makes
//! it panic.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::coordinator::Round;
use super::io::{Action, Config, Event, ExitReason, Saved};
use super::member::Stage;
use super::message::{Hello, Message};
#[cfg(test)]
use super::mutation::Mutation;
use super::peers::Link;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Incarnation, Move, Phase, WorkerIndex};

/// The epoch machine of one life of one worker.
///
/// # How the runtime drives it
/// 1. Read [`Saved`] and the start counter from the volume (raise and store the counter first), make the machine, and
///    do the actions of [`Machine::begin`].
/// 2. Give it every plan that is read, every link, message and loss, every answer of the runtime, and ticks.
/// 3. Do the actions of each step in their order before the next step's.
/// 4. Keep control links to all of [`Machine::peers`]; the first word on each link, both ways, is the incarnation and
///    [`Machine::hello`].
/// 5. Ask [`Machine::accepts`] for each stream and each frame that comes in, and again for what waited when the
///    answer may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) me: WorkerIndex,
    pub(super) incarnation: Incarnation,
    pub(super) config: Config,
    pub(super) now_ms: u64,

    /// The newest plan known.
    pub(super) plan: Option<PlanHead>,
    /// The newest epoch committed, in this life if `joined`, else in a former one.
    pub(super) committed: Option<Committed>,
    pub(super) joined: bool,
    /// The newest epoch told to be committed.
    pub(super) told: Epoch,
    /// The newest epoch known to be started.
    pub(super) started: Epoch,

    pub(super) links: BTreeMap<WorkerIndex, Link>,
    /// The newest life seen of each peer.
    pub(super) seen: BTreeMap<WorkerIndex, Incarnation>,

    /// The highest ballot promised.
    pub(super) promised: Option<Ballot>,
    /// The plan of that ballot.
    pub(super) promised_plan: Option<PlanHead>,
    /// How far the orders of the promised ballot were carried out.
    pub(super) stage: Stage,
    /// The moves of the hand-over that was last completed, until a start.
    pub(super) moved: Vec<Move>,
    /// The ballot, and its plan, that this worker has all for.
    pub(super) ready: Option<Committed>,
    /// The kept copies.
    pub(super) copies: BTreeSet<CopyId>,
    /// The newest epoch whose tasks are open.
    pub(super) opened: Epoch,
    /// The ballot that waits for tasks to be opened.
    pub(super) opening: Option<Committed>,

    /// As coordinator: at most one round beyond its first step, and one of a newer plan in its first step.
    pub(super) rounds: Vec<Round>,
    /// The newest epoch whose ballot of this worker was refused.
    pub(super) refused: Epoch,

    pub(super) exited: Option<ExitReason>,
    pub(super) out: Vec<Action>,
    /// Messages to itself, worked off within the step.
    pub(super) local: VecDeque<Message>,
    #[cfg(test)]
    pub(super) mutation: Option<Mutation>,
}

impl Machine {
    /// The machine of a process that has just started. It opens nothing by itself.
    pub fn new(me: WorkerIndex, incarnation: Incarnation, saved: Saved, config: Config) -> Self {
        Self {
            me,
            incarnation,
            config,
            now_ms: 0,
            plan: saved.plan,
            committed: saved.committed,
            joined: false,
            told: saved.told,
            started: saved.started,
            links: BTreeMap::new(),
            seen: BTreeMap::new(),
            promised: None,
            promised_plan: None,
            stage: Stage::Idle,
            moved: Vec::new(),
            ready: None,
            copies: BTreeSet::new(),
            opened: Epoch::default(),
            opening: None,
            rounds: Vec::new(),
            refused: Epoch::default(),
            exited: None,
            out: Vec::new(),
            local: VecDeque::new(),
            #[cfg(test)]
            mutation: None,
        }
    }

    /// The first actions: what follows from what was saved. To be called once, before any event.
    pub fn begin(&mut self, now_ms: u64) -> Vec<Action> {
        self.now_ms = now_ms;
        self.open_alone_if_mutated();
        self.coordinate();
        self.finish_step()
    }

    /// Takes in what happened at `now_ms`, and says what to do.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now_ms = now_ms;
        if self.exited.is_some() {
            return Vec::new();
        }
        match event {
            Event::Plan(plan) => self.learn(plan),
            Event::PeerUp {
                peer,
                incarnation,
                hello,
            } => self.on_peer_up(peer, incarnation, hello),
            Event::PeerLost { peer, incarnation } => self.on_peer_lost(peer, incarnation),
            Event::Message {
                from,
                incarnation,
                message,
            } => {
                if self
                    .links
                    .get(&from)
                    .is_some_and(|link| link.incarnation == incarnation)
                {
                    self.on_message(from, incarnation, message);
                }
            }
            Event::Opened { epoch } => self.on_opened(epoch),
            Event::Drained {
                ballot,
                wave,
                complete,
                traffic,
            } => self.on_drained(ballot, wave, complete, traffic),
            Event::Snapshotted { ballot } => self.on_snapshotted(ballot),
            Event::CopyArrived { copy, .. } => self.on_copy(copy),
            Event::Installed { ballot } => self.on_installed(ballot),
            Event::Tick => self.on_tick(),
        }
        self.finish_step()
    }

    fn finish_step(&mut self) -> Vec<Action> {
        while let Some(message) = self.local.pop_front() {
            if self.exited.is_none() {
                self.on_message(self.me, self.incarnation, message);
            }
        }
        std::mem::take(&mut self.out)
    }

    fn on_message(&mut self, from: WorkerIndex, incarnation: Incarnation, message: Message) {
        match message {
            Message::State(state) => self.on_state(from, state),
            Message::Admit(committed) => self.on_admit(from, committed),
            Message::Order { ballot, plan, order } => self.on_order(from, incarnation, ballot, plan, order),
            Message::Answer { ballot, answer } => self.on_answer(from, incarnation, ballot, answer),
            Message::Refused {
                ballot,
                promised,
                plan,
            } => self.on_refused(ballot, promised, plan),
        }
    }

    fn on_tick(&mut self) {
        self.go_back_if_mutated();
        self.repeat_orders();
    }

    /// The first word on a new link.
    pub fn hello(&self) -> Hello {
        Hello {
            plan: self.plan.clone(),
            state: self.state(),
        }
    }

    /// The peers to keep control links to: all of the newest plan and of the one that runs.
    pub fn peers(&self) -> BTreeSet<WorkerIndex> {
        let plans = self
            .plan
            .iter()
            .chain(self.committed.iter().map(|committed| &committed.plan));
        plans
            .flat_map(PlanHead::all_asked)
            .filter(|&peer| peer != self.me)
            .collect()
    }

    /// The incarnation that frames and streams of this process carry.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The epoch that runs in this process; 0 if none does.
    pub fn epoch(&self) -> Epoch {
        self.committed
            .as_ref()
            .filter(|_| self.joined)
            .map(Committed::epoch)
            .unwrap_or_default()
    }

    /// The plan that runs in this process.
    pub fn running(&self) -> Option<&PlanHead> {
        self.committed
            .as_ref()
            .filter(|_| self.joined)
            .map(|committed| &committed.plan)
    }

    /// Whether this worker, in this life or before, has committed this epoch or a newer one, or was told of one.
    pub fn has_committed(&self, epoch: Epoch) -> bool {
        let newest = self.committed.as_ref().map(Committed::epoch).unwrap_or_default();
        newest.max(self.told) >= epoch
    }

    /// The newest plan known: a wish.
    pub fn newest_plan(&self) -> Option<&PlanHead> {
        self.plan.as_ref()
    }

    /// Whether the epoch that runs here is started, whatever has been promised since.
    pub fn is_started(&self) -> bool {
        self.joined && self.started >= self.epoch()
    }

    /// Whether this process ends, and why.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.exited
    }

    /// Where the worker is in the moves.
    pub fn phase(&self) -> Phase {
        if self.exited.is_some() {
            return Phase::Exited;
        }
        match &self.stage {
            Stage::Idle if self.is_started() => Phase::Started,
            Stage::Idle if self.joined => Phase::Committed,
            Stage::Idle if self.opening.is_some() => Phase::Opening,
            Stage::Idle => Phase::Waiting,
            Stage::Promised => Phase::Promised,
            Stage::Draining { .. } => Phase::Draining,
            Stage::Drained { .. } => Phase::Drained,
            Stage::Moving(_) => Phase::HandingOver,
            Stage::Ready => Phase::Ready,
            Stage::Committed => Phase::Committed,
        }
    }

    /// Takes in a plan if it is the newest.
    pub(super) fn learn(&mut self, plan: PlanHead) {
        if self.exited.is_some() || self.plan.as_ref().is_some_and(|known| known.epoch >= plan.epoch) {
            return;
        }
        let epoch = plan.epoch;
        let lost = plan.asked(self.me).is_some_and(|member| {
            member.uid != self.incarnation.uid || (self.joined && member.since > self.epoch())
        });
        self.plan = Some(plan);
        self.save();
        if lost && self.joined && !self.lacks(super::mutation::Mutation::GivenUpLetIn) {
            self.exit(ExitReason::GivenUp(epoch));
            return;
        }
        self.review_links();
        self.coordinate();
    }

    pub(super) fn save(&mut self) {
        self.out.push(Action::Save(Saved {
            plan: self.plan.clone(),
            committed: self.committed.clone(),
            told: self.told,
            started: self.started,
        }));
    }

    pub(super) fn send(&mut self, to: WorkerIndex, message: Message) {
        if to == self.me {
            self.local.push_back(message);
        } else if self.links.contains_key(&to) {
            self.out.push(Action::Send { to, message });
        }
    }

    pub(super) fn announce(&mut self) {
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            self.send(peer, Message::State(self.state()));
        }
    }

    pub(super) fn exit(&mut self, reason: ExitReason) {
        self.exited = Some(reason);
        self.rounds.clear();
        self.out.push(Action::Exit(reason));
    }
}
