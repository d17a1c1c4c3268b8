//! What the worker does that a plan names: it carries the plan out.
//!
//! Owns: rounds, one per plan, each a sequence of steps that all those asked must answer. Leaves to others: obeying
//! ([`super::member`], also for the coordinator itself), and what moves ([`super::moves`]).
//!
//! Invariants: a step begins when all have answered the one before, each in the life in which it promised; a round
//! that is refused is over; until all have opened a newer plan, the round of the older one goes on.

use std::collections::BTreeMap;

use super::io::ExitReason;
use super::machine::Machine;
use super::member::Stage;
use super::message::{Answer, Message, Order};
use super::moves::{Reports, drop_what_was_given_up, find_base, find_moves, newest_start};
use super::mutation::Mutation;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, Epoch, Incarnation, Traffic, WorkerIndex};

/// Which order a round waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Open,
    Promise,
    Drain,
    HandOver,
    Commit,
    Finish,
    Start,
}

/// One plan being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Round {
    ballot: Ballot,
    plan: PlanHead,
    step: Step,
    /// Whether it has ever asked for promises, so that workers may be paused because of it.
    begun: bool,
    /// Who has answered the step, and in which life.
    answered: BTreeMap<WorkerIndex, Incarnation>,
    /// The lives that have promised.
    lives: BTreeMap<WorkerIndex, Incarnation>,
    reports: Reports,
    base: Option<Committed>,
    wave: u32,
    drained: BTreeMap<WorkerIndex, (bool, Vec<Traffic>)>,
    asked_at_ms: u64,
    /// Its plan is known to have started in a life before.
    has_started: bool,
}

impl Round {
    pub(super) fn epoch(&self) -> Epoch {
        self.ballot.epoch
    }

    fn enter(&mut self, step: Step) {
        self.step = step;
        self.answered.clear();
    }

    /// Whether the step waits for this worker. Leavers exit at their start, so nobody waits for their word; and once the plan
    /// has started, they keep nothing that anybody could need, and are gone.
    fn waits_for(&self, worker: WorkerIndex) -> bool {
        let asked = self.plan.asked(worker).is_some();
        let is_over = self.step == Step::Start || self.has_started;
        let has_left = is_over && self.plan.member(worker).is_none();
        asked && !has_left && !self.answered.contains_key(&worker)
    }

    fn is_answered(&self) -> bool {
        !self
            .plan
            .all_asked()
            .into_iter()
            .any(|worker| self.waits_for(worker))
    }

    fn order(&self, lacks: impl Fn(Mutation) -> bool) -> Order {
        let started = newest_start(&self.reports);
        match self.step {
            Step::Open => Order::Open,
            Step::Promise => Order::Promise,
            Step::Drain => Order::Drain {
                base: self.base.clone(),
                wave: self.wave,
            },
            Step::HandOver => Order::HandOver {
                moves: self.moves(lacks),
                started,
            },
            Step::Commit => Order::Commit,
            Step::Finish => Order::Finish {
                committed: self.base.as_ref().map_or(self.ballot, |base| base.ballot),
                moves: self.moves(lacks),
                started,
            },
            Step::Start => Order::Start,
        }
    }

    fn moves(&self, lacks: impl Fn(Mutation) -> bool) -> Vec<super::Move> {
        find_moves(&self.plan, self.base.as_ref(), &self.reports, lacks)
    }

    /// Whether what each worker sent is what the other end received: then nothing is between them. One wave is
    /// enough: a frame sent after its sender's answer needs one received after it, whose sender's answer would differ.
    fn traffic_agrees(&self) -> bool {
        if self.drained.values().any(|(complete, _)| !complete) {
            return true;
        }
        let received = |at: WorkerIndex, from: WorkerIndex| {
            let life = self.lives.get(&from)?;
            let (_, traffic) = self.drained.get(&at)?;
            traffic
                .iter()
                .find(|count| count.peer == from && count.incarnation == *life)
        };
        let sent = |from: WorkerIndex, to: WorkerIndex| {
            let life = self.lives.get(&to)?;
            let (_, traffic) = self.drained.get(&from)?;
            traffic
                .iter()
                .find(|count| count.peer == to && count.incarnation == *life)
        };
        self.drained.keys().all(|&from| {
            self.drained.keys().all(|&to| {
                sent(from, to).map_or(0, |count| count.sent)
                    == received(to, from).map_or(0, |count| count.received)
            })
        })
    }
}

impl Machine {
    /// Begins a round if the newest plan names this worker and is not carried out here yet.
    pub(super) fn coordinate(&mut self) {
        let Some(plan) = self.plan.clone() else { return };
        // Rounds that have paused nobody give way to a newer plan at once.
        self.rounds
            .retain(|round| round.begun || round.epoch() >= plan.epoch);
        let named = plan
            .member(plan.coordinator)
            .is_some_and(|member| member.index == self.me && member.uid == self.incarnation.uid);
        let runs = self.is_started() && self.epoch() >= plan.epoch;
        let known = self.refused >= plan.epoch || self.rounds.iter().any(|round| round.epoch() >= plan.epoch);
        if self.exited.is_some() || !named || runs || known {
            return;
        }
        let ballot = Ballot {
            epoch: plan.epoch,
            coordinator: self.incarnation,
            attempt: 1,
        };
        let has_started = self.started >= plan.epoch;
        self.rounds.push(Round {
            ballot,
            plan,
            step: Step::Open,
            begun: false,
            answered: BTreeMap::new(),
            lives: BTreeMap::new(),
            reports: BTreeMap::new(),
            base: None,
            wave: 0,
            drained: BTreeMap::new(),
            asked_at_ms: self.now_ms,
            has_started,
        });
        self.ask_all(self.rounds.len() - 1);
    }

    /// Sends the round's order to all it waits for.
    fn ask_all(&mut self, round: usize) {
        let Some(asking) = self.rounds.get_mut(round) else {
            return;
        };
        asking.asked_at_ms = self.now_ms;
        for worker in asking.plan.all_asked() {
            self.ask(round, worker);
        }
    }

    fn ask(&mut self, round: usize, worker: WorkerIndex) {
        let Some(asking) = self.rounds.get(round) else {
            return;
        };
        let late_leaver = asking.step == Step::Start && asking.plan.member(worker).is_none();
        if asking.waits_for(worker) || late_leaver {
            let message = Message::Order {
                ballot: asking.ballot,
                plan: asking.plan.clone(),
                order: asking.order(|mutation| self.lacks(mutation)),
            };
            self.send(worker, message);
        }
    }

    pub(super) fn on_answer(
        &mut self,
        from: WorkerIndex,
        incarnation: Incarnation,
        ballot: Ballot,
        answer: Answer,
    ) {
        let Some(round) = self.rounds.iter().position(|round| round.ballot == ballot) else {
            return;
        };
        let asking = &mut self.rounds[round];
        if !asking.waits_for(from) {
            return;
        }
        let promised = asking.lives.get(&from) == Some(&incarnation);
        match (asking.step, answer) {
            (Step::Open, Answer::Opened) => {}
            (Step::Promise, Answer::Promised(mut report)) => {
                let since = asking
                    .plan
                    .asked(from)
                    .map(|member| member.since)
                    .unwrap_or_default();
                drop_what_was_given_up(&mut report, since);
                asking.lives.insert(from, incarnation);
                asking.reports.insert(from, *report);
            }
            (
                Step::Drain,
                Answer::Drained {
                    wave,
                    complete,
                    traffic,
                    copies,
                },
            ) if promised && wave == asking.wave => {
                let since = asking
                    .plan
                    .asked(from)
                    .map(|member| member.since)
                    .unwrap_or_default();
                if let Some(report) = asking.reports.get_mut(&from) {
                    report.copies = copies;
                    drop_what_was_given_up(report, since);
                }
                asking.drained.insert(from, (complete, traffic));
            }
            (Step::HandOver, Answer::Ready) if promised => {}
            (Step::Commit | Step::Finish, Answer::Committed) if promised => {}
            (Step::Start, Answer::Started) => {}
            _ => return,
        }
        asking.answered.insert(from, incarnation);
        let early = self.lacks(Mutation::EarlySnapshot) && self.rounds[round].step == Step::Drain;
        if self.rounds[round].is_answered() || early {
            self.advance(round);
        }
    }

    /// All have answered: the next step.
    fn advance(&mut self, round: usize) {
        let asking = &mut self.rounds[round];
        let next = match asking.step {
            Step::Open => Step::Promise,
            Step::Promise => {
                asking.base = find_base(&asking.reports);
                let base = asking.base.as_ref().map(Committed::epoch).unwrap_or_default();
                match base.cmp(&asking.epoch()) {
                    std::cmp::Ordering::Less => Step::Drain,
                    std::cmp::Ordering::Equal => Step::Finish,
                    std::cmp::Ordering::Greater => {
                        self.stop(round);
                        return;
                    }
                }
            }
            // The next wave goes with a tick, so that counting does not keep the links busy.
            Step::Drain if !asking.traffic_agrees() => return,
            Step::Drain => Step::HandOver,
            Step::HandOver => Step::Commit,
            Step::Commit | Step::Finish => Step::Start,
            Step::Start => {
                self.rounds.remove(round);
                return;
            }
        };
        asking.enter(next);
        let mut round = round;
        if next == Step::Promise {
            asking.begun = true;
            let epoch = asking.epoch();
            self.rounds.retain(|other| other.epoch() >= epoch);
            round = self
                .rounds
                .iter()
                .position(|other| other.epoch() == epoch)
                .unwrap_or(round);
        }
        self.ask_all(round);
    }

    /// Somebody's life has changed since it promised: begin again.
    fn begin_again(&mut self, round: usize) {
        let unchanged = self.lacks(Mutation::SameBallotAgain);
        let asking = &mut self.rounds[round];
        if !unchanged {
            asking.ballot.attempt += 1;
        }
        asking.enter(Step::Open);
        asking.lives.clear();
        asking.reports.clear();
        asking.drained.clear();
        asking.base = None;
        asking.wave = 0;
        self.ask_all(round);
    }

    /// A link is up: ask again what may have been lost, and begin again if the peer is not who promised.
    pub(super) fn rounds_meet(&mut self, peer: WorkerIndex, incarnation: Incarnation) {
        for round in 0..self.rounds.len() {
            let asking = &mut self.rounds[round];
            if asking.plan.asked(peer).is_none() {
                continue;
            }
            let other_life = |lives: &BTreeMap<WorkerIndex, Incarnation>| {
                lives.get(&peer).is_some_and(|&life| life != incarnation)
            };
            if asking.step == Step::Open {
                if other_life(&asking.answered) {
                    asking.answered.remove(&peer);
                }
            } else if asking.step == Step::Start && other_life(&asking.lives) {
                // What runs lets it in; the round is not needed for that.
                asking.answered.insert(peer, incarnation);
            } else if other_life(&asking.lives) {
                self.begin_again(round);
                continue;
            }
            self.ask(round, peer);
        }
        self.rounds
            .retain(|round| round.step != Step::Start || !round.is_answered());
    }

    pub(super) fn on_refused(&mut self, ballot: Ballot, promised: Option<Ballot>, plan: Option<PlanHead>) {
        let outlived = promised.is_some_and(|promised| {
            promised.epoch == ballot.epoch
                && promised.coordinator.uid == self.incarnation.uid
                && promised.coordinator.start > self.incarnation.start
        });
        if ballot.coordinator == self.incarnation && outlived {
            self.exit(ExitReason::Outlived);
            return;
        }
        if let Some(round) = self.rounds.iter().position(|round| round.ballot == ballot) {
            self.stop(round);
        }
        if let Some(plan) = plan {
            self.learn(plan);
        }
    }

    fn stop(&mut self, round: usize) {
        let stopped = self.rounds.remove(round);
        self.refused = self.refused.max(stopped.epoch());
    }

    /// Repeats orders that nobody answered for a while, and counts anew where a drain's counts did not agree.
    pub(super) fn repeat_orders(&mut self) {
        for round in 0..self.rounds.len() {
            let asking = &mut self.rounds[round];
            if asking.step == Step::Drain && asking.is_answered() {
                asking.wave += 1;
                asking.drained.clear();
                asking.answered.clear();
            } else if self.now_ms.saturating_sub(asking.asked_at_ms) < self.config.retry_ms {
                continue;
            }
            self.ask_all(round);
        }
        // A plan may have come while this worker could not begin with it.
        if self.stage == Stage::Idle {
            self.coordinate();
        }
    }
}
