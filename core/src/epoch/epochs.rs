//! Taking an epoch: commit, join, start, and losing what was left behind.
//!
//! Owns: what is running here, and what is said about it. Leaves to others: when to do so ([`super::member`],
//! [`super::peers`]).
//!
//! Invariants: what was committed is on the volume before it runs; copies live until a start, no longer.

use super::io::{Action, ExitReason, Installation};
use super::machine::Machine;
use super::member::Stage;
use super::mutation::Mutation;
use super::types::{Committed, Epoch};

impl Machine {
    /// Takes the epoch, without starting it.
    pub(super) fn commit(&mut self, committed: Committed) {
        self.told = self.told.max(committed.epoch());
        self.committed = Some(committed.clone());
        self.joined = true;
        self.ready = None;
        self.save();
        if !self.lacks(Mutation::QueuesKeptAtCommit) {
            self.out.push(Action::EmptyQueues {
                below: committed.epoch(),
            });
        }
        if self.lacks(Mutation::CopyDroppedAtCommit) {
            self.drop_copies(committed.epoch());
        }
        self.out.push(Action::Commit(committed));
        self.announce();
        self.welcome_all();
    }

    /// Joins, with empty tasks, what peers run.
    pub(super) fn join_empty(&mut self, committed: Committed) {
        let epoch = committed.epoch();
        let tasks = committed.plan.tasks_of(self.me);
        let empty = |task| Installation {
            task,
            copies: Vec::new(),
        };
        let tasks = tasks.map(empty).collect();
        self.out.push(Action::Open(committed.plan.clone()));
        self.out.push(Action::Install {
            ballot: committed.ballot,
            plan: committed.plan.clone(),
            tasks,
        });
        self.opening.take_if(|opening| opening.epoch() <= epoch);
        self.opened = self.opened.max(epoch);
        self.rounds.retain(|round| round.epoch() > epoch);
        self.commit(committed);
        self.start();
        self.coordinate();
    }

    /// Runs what was committed: all have committed it.
    pub(super) fn start(&mut self) {
        let Some(committed) = self.committed.clone().filter(|_| self.joined) else {
            return;
        };
        self.started = self.started.max(committed.epoch());
        self.stage = Stage::Idle;
        self.moved.clear();
        self.save();
        self.drop_copies(self.started);
        self.announce();
        if committed.plan.member(self.me).is_none() {
            self.exit(ExitReason::Left);
            return;
        }
        if committed.plan.active {
            self.out.push(Action::StartSpouts);
        }
        self.welcome_all();
    }

    /// Drops copies that were frozen before a start: their tasks have run on.
    pub(super) fn drop_copies(&mut self, through: Epoch) {
        let before = self.copies.len();
        self.copies.retain(|copy| copy.tag.epoch > through);
        if self.copies.len() < before {
            self.out.push(Action::DropCopies { through });
        }
    }

    /// Gives up what this process holds: the others went on without it.
    pub(super) fn leave_behind(&mut self) {
        self.joined = false;
        self.ready = None;
        self.copies.clear();
        self.out.push(Action::DropTasks);
    }
}
