//! The operator: publishes plans, learns of starts late, replaces pods.
//!
//! Owns: valid plans. Leaves to others: when ([`super::world`]).

use super::world::{Flaw, World};
use crate::epoch::{Ancestor, Epoch, Handing, Member, Numbers, PlanHead, WorkerIndex, whom_to_ask};

/// What a new plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// Members as given; who is not there leaves.
    Members(&'static [u32]),
    /// This worker is given up.
    GiveUp(u32),
    /// A worker comes (back).
    Add(u32),
    /// A worker leaves.
    Leave(u32),
    /// A new pod takes this index; the old process lives on.
    Replace(u32),
    /// Spouts stop or go.
    Flip,
    /// Tasks move on by one worker.
    Rotate,
    /// Another coordinator.
    Coordinator(u32),
    /// So many tasks of the bolt.
    Bolts(u32),
}

impl World {
    /// Publishes the next plan. Says no if there would be nobody left.
    pub(super) fn publish(&mut self, changes: &[Change]) -> bool {
        let epoch = Epoch(self.plans.last().map_or(0, |plan| plan.epoch.0) + 1);
        let before = self.plans.last().cloned();
        let mut members: Vec<u32> = before
            .iter()
            .flat_map(|plan| &plan.members)
            .map(|member| member.index.0)
            .collect();
        let mut given_up: Vec<WorkerIndex> = before.iter().flat_map(|plan| plan.given_up.clone()).collect();
        let mut active = before.as_ref().is_none_or(|plan| plan.active);
        let mut turn = self.turn;
        let mut coordinator = before.as_ref().map(|plan| plan.coordinator.0);
        let mut numbers = before.as_ref().map_or_else(
            || Numbers {
                since: Epoch(0),
                of: vec![self.shape.spouts, self.shape.bolts],
            },
            |plan| plan.numbers.clone(),
        );
        for change in changes {
            match *change {
                Change::Members(all) => members = all.to_vec(),
                Change::GiveUp(index) => {
                    members.retain(|&member| member != index);
                    given_up.push(WorkerIndex(index));
                }
                Change::Add(index) => members.push(index),
                Change::Leave(index) => members.retain(|&member| member != index),
                Change::Replace(index) => {
                    if !members.contains(&index) {
                        return false;
                    }
                    self.replace_pod(WorkerIndex(index));
                }
                Change::Flip => active = !active,
                Change::Rotate => turn += 1,
                Change::Coordinator(index) => coordinator = Some(index),
                Change::Bolts(bolts) if numbers.of[1] == bolts => {}
                Change::Bolts(bolts) => {
                    numbers = Numbers {
                        since: epoch,
                        of: vec![self.shape.spouts, bolts],
                    };
                }
            }
        }
        members.sort_unstable();
        members.dedup();
        if members.is_empty() {
            return false;
        }
        self.turn = turn;
        given_up.retain(|index| !members.contains(&index.0));
        given_up.sort_unstable();
        given_up.dedup();
        let members: Vec<Member> = members
            .iter()
            .map(|&index| self.name(WorkerIndex(index), epoch, before.as_ref()))
            .collect();
        let coordinator = coordinator.filter(|&at| members.iter().any(|member| member.index.0 == at));
        let known = self.known_started;
        let ask = match self.flaw {
            Flaw::AskWithoutLeavers => members.clone(),
            Flaw::AskWithoutSkipped => {
                let running = self.plans.iter().filter(|plan| plan.epoch == known);
                whom_to_ask(running, &members, &given_up)
            }
            _ => whom_to_ask(
                self.plans.iter().filter(|plan| plan.epoch >= known),
                &members,
                &given_up,
            ),
        };
        let ancestors = self.ancestors(&numbers);
        let placement = (0..numbers.sum() as usize)
            .map(|task| members[(task + turn) % members.len()].index)
            .collect();
        self.plans.push(PlanHead {
            epoch,
            coordinator: coordinator.map_or(members[0].index, WorkerIndex),
            members,
            ask,
            given_up,
            placement,
            active,
            drain_timeout_ms: 1_000,
            rests: false,
            inherits: None,
            numbers,
            ancestors,
        });
        self.lose_abandoned();
        true
    }

    /// The other numbers of plans that may still run.
    fn ancestors(&self, numbers: &Numbers) -> Vec<Ancestor> {
        let skipped = match self.flaw {
            Flaw::LastAncestorOnly => self.plans.len().saturating_sub(1),
            _ => 0,
        };
        let plans = self.plans.iter().skip(skipped);
        let plans = plans.filter(|plan| plan.epoch >= self.known_started);
        let mut known: Vec<&Numbers> = plans.map(|plan| &plan.numbers).collect();
        known.retain(|known| known.since != numbers.since);
        known.dedup();
        let ancestor = |numbers: &Numbers| Ancestor {
            numbers: numbers.clone(),
            handing: vec![Handing::All, Handing::Keys],
        };
        known.into_iter().map(ancestor).collect()
    }

    /// Names the newest pod of an index. It is the same member as before if nothing has gone on without it.
    fn name(&mut self, index: WorkerIndex, epoch: Epoch, before: Option<&PlanHead>) -> Member {
        self.need_pod(index);
        let uid = self.pods.iter().rfind(|pod| pod.index == index).unwrap().uid;
        let known = before
            .and_then(|plan| plan.asked(index))
            .filter(|member| member.uid == uid);
        Member {
            index,
            uid,
            since: known.map_or(epoch, |member| member.since),
        }
    }
}
