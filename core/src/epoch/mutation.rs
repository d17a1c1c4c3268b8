//! The rules that the check takes out, one at a time, to show that it sees when they are missing.
//!
//! Owns: their names, the switch, which exists in tests only (elsewhere every rule holds, at no cost), and what a
//! machine does that lacks a rule, where leaving a line out is not enough.

use super::io::{Action, ExitReason};
use super::machine::Machine;
use super::member::Stage;
use super::plan::PlanHead;
use super::types::{Move, Source};

/// A rule that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mutation {
    /// A restarted worker opens the tasks of the epoch it remembers without being let in.
    RestartOpensAlone,
    /// Promises are reported but not kept.
    NoPromise,
    /// Hand-over, ready and commit go by the order alone, whatever was promised since.
    PromiseUnchecked,
    /// A coordinator that begins again uses the ballot it had.
    SameBallotAgain,
    /// Copies that were received are dropped at a newer promise.
    CopyDroppedAtPromise,
    /// Each worker derives what moves from the plan that it ran itself.
    OwnMoves,
    /// A worker that was made ready exits like any other when it meets a higher epoch.
    ExitOnHigherEpoch,
    /// A worker that was given up is listened to and let in.
    GivenUpLetIn,
    /// The hand-over begins when the coordinator itself has drained.
    EarlySnapshot,
    /// A worker whose promise leads nowhere for a while goes on with the old epoch.
    BackByTimeout,
    /// A leaver exits when it commits.
    LeaverExitsAtCommit,
    /// What waits in queues survives the commit.
    QueuesKeptAtCommit,
    /// A new pod is taken for its index by workers whose plans name another.
    NewPodJoins,
    /// Frozen copies are dropped at the commit.
    CopyDroppedAtCommit,
    /// Lives of a worker have no order: whichever speaks is believed.
    LivesUnordered,
    /// Tasks of another numbering are taken for those of the same number.
    NumberingsMixed,
    /// Where parents of one numbering are gone, nobody looks for copies of the ones before.
    OneNumberingOnly,
}

impl Machine {
    /// Whether the rule is taken out.
    #[cfg(test)]
    pub(super) fn lacks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether the rule is taken out: never.
    #[cfg(not(test))]
    #[inline(always)]
    pub(super) const fn lacks(&self, _: Mutation) -> bool {
        false
    }

    /// See [`Mutation::OwnMoves`].
    pub(super) fn own_moves(&self, plan: &PlanHead) -> Vec<Move> {
        let before = self.committed.as_ref().map(|committed| &committed.plan);
        (0u32..)
            .map(super::TaskId)
            .zip(&plan.placement)
            .filter_map(|(task, &to)| {
                let owner = before.and_then(|before| before.placement.get(task.0 as usize));
                match owner {
                    Some(&owner) if owner == to => None,
                    Some(&owner) => Some(Move {
                        task,
                        since: plan.numbers.since,
                        from: Source::Owner(owner),
                        to,
                    }),
                    None => Some(Move {
                        task,
                        since: plan.numbers.since,
                        from: Source::Nothing,
                        to,
                    }),
                }
            })
            .collect()
    }

    /// See [`Mutation::CopyDroppedAtPromise`].
    pub(super) fn drop_received_copies(&mut self) {
        let me = self.me;
        let placement = self
            .committed
            .iter()
            .flat_map(|committed| &committed.plan.placement);
        let own: Vec<_> = (0u32..)
            .zip(placement)
            .filter(|&(_, &owner)| owner == me)
            .map(|(task, _)| task)
            .collect();
        self.copies.retain(|copy| own.contains(&copy.task.0));
        self.ready = None;
    }

    /// See [`Mutation::LeaverExitsAtCommit`].
    pub(super) fn exit_early_if_mutated(&mut self, plan: &PlanHead) {
        if self.lacks(Mutation::LeaverExitsAtCommit) && plan.member(self.me).is_none() {
            self.exit(ExitReason::Left);
        }
    }

    /// See [`Mutation::RestartOpensAlone`].
    pub(super) fn open_alone_if_mutated(&mut self) {
        if let Some(committed) = self.committed.clone()
            && self.lacks(Mutation::RestartOpensAlone)
            && committed.plan.member(self.me).is_some()
        {
            self.join_empty(committed);
        }
    }

    /// See [`Mutation::BackByTimeout`].
    pub(super) fn go_back_if_mutated(&mut self) {
        let waits = matches!(
            self.stage,
            Stage::Promised
                | Stage::Draining { .. }
                | Stage::Drained { .. }
                | Stage::Moving(_)
                | Stage::Ready
        );
        if self.lacks(Mutation::BackByTimeout) && waits && self.is_started() {
            self.stage = Stage::Idle;
            self.out.push(Action::StartSpouts);
        }
    }
}
