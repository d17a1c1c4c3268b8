//! Handing over: freeze, send, receive, install.
//!
//! Owns: a hand-over under way, for a new epoch or for one that is being finished. Leaves to others: what moves
//! ([`super::moves`]), promises and stages ([`super::member`]), the bytes (the runtime).
//!
//! Invariants: what is ready stays ready until something else is being installed; copies are sent again with each new
//! link; a copy that came counts, whoever ordered it, unless a start made it stale.

use std::collections::BTreeSet;

use super::io::Action;
use super::machine::Machine;
use super::member::Stage;
use super::message::Answer;
use super::moves::{copy_of, installations};
use super::mutation::Mutation;
use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Move, Source, TaskId, WorkerIndex};

/// A hand-over, or the joining of a restarted worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Moving {
    moves: Vec<Move>,
    /// Set if this life takes the epoch when all is installed, without a commit of its own.
    joins: Option<Committed>,
    /// Set if the answer is that the epoch is committed.
    finishes: bool,
    freezing: bool,
    installing: bool,
    waits_for: BTreeSet<CopyId>,
}

impl Machine {
    pub(super) fn hand_over(&mut self, ballot: Ballot, plan: &PlanHead, moves: Vec<Move>, started: Epoch) {
        let moves = if self.lacks(Mutation::OwnMoves) {
            self.own_moves(plan)
        } else {
            moves
        };
        self.drop_copies(started);
        self.begin_moving(ballot, moves, None, false);
    }

    /// Joins or confirms an epoch that somebody has committed.
    pub(super) fn finish(
        &mut self,
        ballot: Ballot,
        plan: &PlanHead,
        committed: Ballot,
        moves: Vec<Move>,
        started: Epoch,
    ) {
        let mine = self
            .committed
            .as_ref()
            .filter(|_| self.joined)
            .map(|mine| mine.ballot);
        let is_ready = self.ready.as_ref().is_some_and(|ready| ready.ballot == committed);
        // A leaver that was restarted has no part in the new epoch; it passes on what it was given, and joins nothing.
        let leaves = plan.member(self.me).is_none();
        match &self.stage {
            Stage::Promised => {}
            // It may have heard of the start from a peer.
            Stage::Committed | Stage::Idle if leaves || self.epoch() == committed.epoch => {
                self.answer(ballot, plan, Answer::Committed);
                return;
            }
            _ => return,
        }
        self.started = self.started.max(started);
        self.drop_copies(started);
        let taken = Committed {
            ballot: committed,
            plan: plan.clone(),
        };
        let joins = if mine == Some(committed) {
            None
        } else if is_ready {
            self.commit(taken);
            None
        } else {
            if self.joined {
                self.leave_behind();
            }
            self.told = self.told.max(committed.epoch);
            self.save();
            (!leaves).then_some(taken)
        };
        self.begin_moving(ballot, moves, joins, true);
    }

    fn begin_moving(&mut self, ballot: Ballot, moves: Vec<Move>, joins: Option<Committed>, finishes: bool) {
        // One may go to several workers. All are of the numbering that runs here.
        let own = moves.iter().filter(|step| step.from == Source::Owner(self.me));
        let tasks: BTreeSet<(Epoch, TaskId)> = own.map(|step| (step.since, step.task)).collect();
        let freezing = !tasks.is_empty();
        if let Some(&(since, _)) = tasks.first() {
            self.out.push(Action::Snapshot {
                tasks: tasks.into_iter().map(|(_, task)| task).collect(),
                since,
                tag: ballot,
            });
        }
        let waits_for = moves
            .iter()
            .filter(|step| step.to == self.me)
            .filter_map(|step| copy_of(step, ballot))
            .filter(|copy| !self.copies.contains(copy))
            .collect();
        self.stage = Stage::Moving(Box::new(Moving {
            moves,
            joins,
            finishes,
            freezing,
            installing: false,
            waits_for,
        }));
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            self.resend_copies(peer);
        }
        self.continue_moving();
    }

    /// Sends a peer the copies that the promised ballot moves to it, as far as they are kept here.
    ///
    /// Again with each new link, since copies on the way are lost with the old one.
    pub(super) fn resend_copies(&mut self, peer: WorkerIndex) {
        let (Some(ballot), Some(moves)) = (self.promised, self.moves_under_way()) else {
            return;
        };
        let copies: BTreeSet<_> = moves
            .iter()
            .filter(|step| step.to == peer)
            .filter(|step| match step.from {
                Source::Owner(holder) | Source::Copy { holder, .. } => holder == self.me,
                Source::Nothing => false,
            })
            .filter_map(|step| copy_of(step, ballot))
            .filter(|copy| self.copies.contains(copy))
            .collect();
        for copy in copies {
            self.out.push(Action::SendCopy {
                to: peer,
                ballot,
                copy,
            });
        }
    }

    /// The moves of the promised ballot, from its hand-over on until something else is promised or started.
    fn moves_under_way(&self) -> Option<&[Move]> {
        match &self.stage {
            Stage::Moving(moving) => Some(&moving.moves),
            Stage::Ready | Stage::Committed => Some(&self.moved),
            _ => None,
        }
    }

    pub(super) fn on_snapshotted(&mut self, ballot: Ballot) {
        let Stage::Moving(moving) = &mut self.stage else {
            return;
        };
        if self.promised != Some(ballot) || !std::mem::take(&mut moving.freezing) {
            return;
        }
        let me = self.me;
        let frozen = moving.moves.iter().filter(|step| step.from == Source::Owner(me));
        let frozen: BTreeSet<_> = frozen
            .filter_map(|step| Some((copy_of(step, ballot)?, step.to)))
            .collect();
        for &(copy, to) in &frozen {
            // It may be for tasks of another numbering that begin here.
            moving.waits_for.remove(&copy);
            self.copies.insert(copy);
            if self.links.contains_key(&to) {
                self.out.push(Action::SendCopy { to, ballot, copy });
            }
        }
        self.continue_moving();
    }

    pub(super) fn on_copy(&mut self, copy: CopyId) {
        if copy.tag.epoch <= self.started {
            return;
        }
        self.copies.insert(copy);
        if let Stage::Moving(moving) = &mut self.stage {
            moving.waits_for.remove(&copy);
        }
        self.continue_moving();
    }

    pub(super) fn on_installed(&mut self, ballot: Ballot) {
        let Stage::Moving(moving) = &mut self.stage else {
            return;
        };
        if self.promised == Some(ballot) && moving.installing {
            self.complete_moving();
        }
    }

    fn continue_moving(&mut self) {
        let Stage::Moving(moving) = &mut self.stage else {
            return;
        };
        let Some(ballot) = self.promised else { return };
        if moving.freezing || moving.installing || !moving.waits_for.is_empty() {
            return;
        }
        let Some(plan) = self.promised_plan.clone() else {
            return;
        };
        let tasks = installations(&plan, &moving.moves, self.me, ballot);
        if tasks.is_empty() {
            self.complete_moving();
        } else {
            moving.installing = true;
            // What was prepared for another ballot is replaced.
            self.ready = None;
            self.out.push(Action::Install { ballot, plan, tasks });
        }
    }

    fn complete_moving(&mut self) {
        let Stage::Moving(moving) = std::mem::replace(&mut self.stage, Stage::Committed) else {
            return;
        };
        let moving = *moving;
        self.moved = moving.moves;
        if moving.finishes {
            if let Some(joins) = moving.joins {
                self.commit(joins);
            }
            if !self.joined {
                self.stage = Stage::Idle;
            }
            self.answer_promised(Answer::Committed);
            if self.is_started() {
                // It had started before the round: as with any restart, nobody waits for the others.
                self.start();
            }
            self.start_with_peers();
        } else {
            self.stage = Stage::Ready;
            if let (Some(ballot), Some(plan)) = (self.promised, self.promised_plan.clone()) {
                self.ready = Some(Committed { ballot, plan });
            }
            self.answer_promised(Answer::Ready);
        }
    }
}
