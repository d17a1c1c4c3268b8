//! What every worker does: the orders of a coordinator, up to the commit.
//!
//! Owns: promises, stages, draining, obeying a commit. Leaves to others: what is ordered ([`super::coordinator`]), the
//! hand-over ([`super::hand_over`]), taking and starting an epoch ([`super::epochs`]), the data plane (the runtime).
//!
//! Invariants: `stage` belongs to the promised ballot, and every order but the first two is obeyed for that ballot
//! only; nothing that is kept is dropped before a start.

use super::hand_over::Moving;
use super::io::Action;
use super::machine::Machine;
use super::message::{Answer, Message, Order, Report};
use super::mutation::Mutation;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Incarnation, Traffic, WorkerIndex};

/// How far the orders of the promised ballot were carried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Nothing is under way.
    Idle,
    /// Spouts are paused.
    Promised,
    /// Waits for the runtime.
    Draining { wave: u32 },
    /// Nothing is in flight here.
    Drained {
        wave: u32,
        complete: bool,
        traffic: Vec<Traffic>,
    },
    /// State goes out and comes in.
    Moving(Box<Moving>),
    /// Has all for the promised ballot.
    Ready,
    /// Has committed, spouts wait.
    Committed,
}

impl Machine {
    pub(super) fn on_order(
        &mut self,
        from: WorkerIndex,
        incarnation: Incarnation,
        ballot: Ballot,
        plan: PlanHead,
        order: Order,
    ) {
        let genuine =
            plan.coordinator == from && ballot.coordinator == incarnation && ballot.epoch == plan.epoch;
        if !genuine {
            return;
        }
        self.learn(plan.clone());
        let asked = plan
            .asked(self.me)
            .is_some_and(|member| member.uid == self.incarnation.uid);
        if self.exited.is_some() || !asked || (from != self.me && self.standing(from, incarnation).is_err()) {
            return;
        }
        if self.is_too_low(ballot, &order) {
            let refused = Message::Refused {
                ballot,
                promised: self.promised,
                plan: self.plan.clone(),
            };
            self.send(from, refused);
            return;
        }
        match order {
            Order::Open => self.open(from, ballot, plan),
            Order::Promise => self.promise(ballot, plan),
            _ if !self.obeys(ballot, &order) => {}
            Order::Drain { base, wave } => self.drain(ballot, &plan, base, wave),
            Order::HandOver { moves, started } => match self.stage {
                Stage::Drained { .. } => self.hand_over(ballot, &plan, moves, started),
                Stage::Ready => self.answer(ballot, &plan, Answer::Ready),
                _ if self.lacks(Mutation::PromiseUnchecked) || self.lacks(Mutation::EarlySnapshot) => {
                    self.hand_over(ballot, &plan, moves, started)
                }
                _ => {}
            },
            Order::Commit => self.obey_commit(ballot, &plan),
            Order::Finish {
                committed,
                moves,
                started,
            } => self.finish(ballot, &plan, committed, moves, started),
            Order::Start => {
                if self.joined && self.epoch() == ballot.epoch {
                    // A leaver is gone after its start, so the answer goes first.
                    self.answer(ballot, &plan, Answer::Started);
                    if self.stage != Stage::Idle || !self.is_started() {
                        self.start();
                    }
                }
            }
        }
    }

    fn is_too_low(&self, ballot: Ballot, order: &Order) -> bool {
        let newest = self
            .told
            .max(self.committed.as_ref().map(Committed::epoch).unwrap_or_default());
        let unchecked = self.lacks(Mutation::NoPromise)
            || (self.lacks(Mutation::PromiseUnchecked)
                && matches!(order, Order::HandOver { .. } | Order::Commit));
        let out = self.was_given_up(self.me, ballot.epoch);
        out || ballot.epoch < newest || (Some(ballot) < self.promised && !unchecked)
    }

    fn obeys(&self, ballot: Ballot, order: &Order) -> bool {
        self.promised == Some(ballot)
            || (self.lacks(Mutation::PromiseUnchecked)
                && matches!(order, Order::HandOver { .. } | Order::Commit))
    }

    pub(super) fn answer(&mut self, ballot: Ballot, plan: &PlanHead, answer: Answer) {
        self.send(plan.coordinator, Message::Answer { ballot, answer });
    }

    /// Answers the coordinator of the promised ballot.
    pub(super) fn answer_promised(&mut self, answer: Answer) {
        if let (Some(ballot), Some(plan)) = (self.promised, self.promised_plan.clone()) {
            self.answer(ballot, &plan, answer);
        }
    }

    fn open(&mut self, from: WorkerIndex, ballot: Ballot, plan: PlanHead) {
        if self.joined && self.epoch() == ballot.epoch {
            // A coordinator that came back into what runs needs no round: it is let in.
            let fresh = self.links.get(&from).is_some_and(|link| !link.state.joined);
            if fresh && self.is_started() && self.stage == Stage::Idle {
                self.welcome(from);
            } else {
                self.answer(ballot, &plan, Answer::Opened);
            }
        } else if self.opened == ballot.epoch || plan.member(self.me).is_none() {
            self.answer(ballot, &plan, Answer::Opened);
        } else {
            let opens = self
                .opening
                .as_ref()
                .is_some_and(|opening| opening.epoch() == ballot.epoch);
            if !opens {
                self.out.push(Action::Open(plan.clone()));
            }
            self.opening = Some(Committed { ballot, plan });
        }
    }

    pub(super) fn on_opened(&mut self, epoch: Epoch) {
        self.opened = self.opened.max(epoch);
        if let Some(opening) = self.opening.take_if(|opening| opening.epoch() == epoch) {
            self.answer(opening.ballot, &opening.plan, Answer::Opened);
        }
    }

    fn promise(&mut self, ballot: Ballot, plan: PlanHead) {
        if self.promised != Some(ballot) {
            self.promised = Some(ballot);
            self.promised_plan = Some(plan.clone());
            self.stage = Stage::Promised;
            if self.lacks(Mutation::CopyDroppedAtPromise) {
                self.drop_received_copies();
            }
            self.out.push(Action::PauseSpouts);
        }
        let report = Report {
            committed: self.committed.clone(),
            joined: self.joined,
            ready: self.ready.as_ref().map(|ready| ready.ballot),
            started: self.started,
            copies: self.kept_copies(),
        };
        self.answer(ballot, &plan, Answer::Promised(Box::new(report)));
    }

    fn kept_copies(&self) -> Vec<CopyId> {
        self.copies.iter().copied().collect()
    }

    fn drain(&mut self, ballot: Ballot, plan: &PlanHead, base: Option<Committed>, wave: u32) {
        match &self.stage {
            Stage::Promised => {
                if let Some(base) = base {
                    self.catch_up(base);
                }
            }
            Stage::Drained {
                wave: done,
                complete,
                traffic,
            } if *done == wave => {
                let (complete, traffic) = (*complete, traffic.clone());
                let answer = Answer::Drained {
                    wave,
                    complete,
                    traffic,
                    copies: self.kept_copies(),
                };
                self.answer(ballot, plan, answer);
                return;
            }
            Stage::Drained { wave: done, .. } if *done < wave => {}
            _ => return,
        }
        self.stage = Stage::Draining { wave };
        if self.joined {
            self.out.push(Action::Drain {
                ballot,
                wave,
                timeout_ms: plan.drain_timeout_ms,
            });
        } else {
            self.on_drained(ballot, wave, true, Vec::new());
        }
    }

    /// Catches up with the newest epoch that anyone has committed, without starting it.
    fn catch_up(&mut self, base: Committed) {
        let mine = self.committed.as_ref().filter(|_| self.joined);
        if mine.is_some_and(|mine| mine.epoch() >= base.epoch()) {
            return;
        }
        if self
            .ready
            .as_ref()
            .is_some_and(|ready| ready.ballot == base.ballot)
        {
            self.commit(base);
        } else {
            self.told = self.told.max(base.epoch());
            if self.joined {
                self.leave_behind();
            }
            self.save();
        }
    }

    pub(super) fn on_drained(&mut self, ballot: Ballot, wave: u32, complete: bool, traffic: Vec<Traffic>) {
        if self.promised == Some(ballot) && self.stage == (Stage::Draining { wave }) {
            self.stage = Stage::Drained {
                wave,
                complete,
                traffic: traffic.clone(),
            };
            let copies = self.kept_copies();
            self.answer_promised(Answer::Drained {
                wave,
                complete,
                traffic,
                copies,
            });
        }
    }

    fn obey_commit(&mut self, ballot: Ballot, plan: &PlanHead) {
        if self.ready.as_ref().is_some_and(|ready| ready.ballot == ballot) {
            self.commit(Committed {
                ballot,
                plan: plan.clone(),
            });
            self.stage = Stage::Committed;
        }
        if self.joined
            && self
                .committed
                .as_ref()
                .is_some_and(|committed| committed.ballot == ballot)
        {
            self.answer(ballot, plan, Answer::Committed);
            self.exit_early_if_mutated(plan);
            self.start_with_peers();
        }
    }
}
