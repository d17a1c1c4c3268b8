//! What the machine needs of a plan.
//!
//! Owns: [`PlanHead`], and the rule whom a plan must ask ([`whom_to_ask`]). Leaves to others: the graph, and how
//! placements are found.
//!
//! Invariants that the writer of plans keeps: a new plan has a higher epoch; no index is both asked and given up;
//! whoever was given up and is named again gets the new plan's epoch as its `since`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::numbers::{Ancestor, Numbers};
use super::types::{Epoch, TaskId, WorkerIndex};

/// A worker that a plan names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its index.
    pub index: WorkerIndex,
    /// Which pod it is; a constant where there are no pods.
    pub uid: u64,
    /// The epoch of the plan that named it first, or first again after it was given up or its pod was replaced.
    ///
    /// What a worker ran before this epoch is lost as in a crash.
    pub since: Epoch,
}

/// How plans name a pod: XXH3 of the text of its uid, and never 0, which stands for no pod.
///
/// Plans need pods to be told apart, and a number that is compared on every frame costs less than a text.
pub fn pod_uid(uid: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(uid.as_bytes()).max(1)
}

/// The part of a plan that decides who does what when.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanHead {
    /// Grows with every change of the plan.
    pub epoch: Epoch,
    /// The workers that run the topology in this epoch.
    pub members: Vec<Member>,
    /// The member that carries the plan out.
    pub coordinator: WorkerIndex,
    /// Every worker of every plan since the last epoch known to be started; see [`whom_to_ask`].
    ///
    /// Members are asked in any case. Those that are here only are leavers.
    pub ask: Vec<Member>,
    /// Workers that are not waited for any more, in all their lives.
    #[serde(default)]
    pub given_up: Vec<WorkerIndex>,
    /// The owner of each task.
    pub placement: Vec<WorkerIndex>,
    /// Whether spouts run in this epoch.
    pub active: bool,
    /// How long a drain may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Whether all tasks stand still from the commit on, so that another revision can take over what they keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// Where tasks get their states from before the epoch is committed, if this revision takes over from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherits: Option<Box<Inheritance>>,
    /// How many tasks each component has, and since when.
    #[serde(default)]
    pub numbers: Numbers,
    /// Other numbers that plans had since the last epoch known to be started, that one included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
}

/// What one revision takes over from another one, which rests.
///
/// A worker that has opened a plan with an inheritance has fetched its part. One that is not to be had (its worker does
/// not answer) is lost as in a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inheritance {
    /// The revision that rests.
    pub revision: String,
    /// The epoch that it rests in.
    pub epoch: Epoch,
    /// Where its workers listen: an IP address with a port, and [`PLAIN`] before it if they know no TLS and the heirs do.
    pub workers: BTreeMap<WorkerIndex, String>,
    /// What goes where.
    pub states: Vec<Inherited>,
}

/// Stands before the address of a worker that is to be asked without TLS.
pub const PLAIN: &str = "http://";

/// One state that a task takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inherited {
    /// The task that takes it over.
    pub task: TaskId,
    /// The task of the other revision that keeps it.
    pub of: TaskId,
    /// The worker of the other revision that this task is on.
    pub at: WorkerIndex,
    /// Whether only those of its keys are taken over that are the task's, since the number of tasks is another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_key: bool,
}

impl PlanHead {
    /// The member with this index.
    pub fn member(&self, index: WorkerIndex) -> Option<&Member> {
        self.members.iter().find(|member| member.index == index)
    }

    /// Who is asked with this index: a member, or a leaver.
    pub fn asked(&self, index: WorkerIndex) -> Option<&Member> {
        if self.has_given_up(index) {
            return None;
        }
        self.member(index)
            .or_else(|| self.ask.iter().find(|member| member.index == index))
    }

    /// All that are asked, by index, once each.
    pub fn all_asked(&self) -> Vec<WorkerIndex> {
        let mut asked: Vec<_> = self
            .members
            .iter()
            .chain(&self.ask)
            .map(|member| member.index)
            .filter(|&index| !self.has_given_up(index))
            .collect();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// Whether the plan has given this index up.
    pub fn has_given_up(&self, index: WorkerIndex) -> bool {
        self.given_up.contains(&index)
    }

    /// The tasks of a worker.
    pub fn tasks_of(&self, index: WorkerIndex) -> impl Iterator<Item = super::TaskId> + '_ {
        (0u32..)
            .zip(&self.placement)
            .filter(move |&(_, &owner)| owner == index)
            .map(|(task, _)| super::TaskId(task))
    }
}

/// Whom a new plan must ask: its members, and every member of every plan since the last one known to be started, that
/// one included, but nobody who is given up. `since_started` is in the order of epochs.
///
/// A plan that nobody is known to have started may still have been committed somewhere, so its workers hold state;
/// and a leaver must hand over what it holds. A pod may be deleted when no plan that may still run asks it.
pub fn whom_to_ask<'a>(
    since_started: impl IntoIterator<Item = &'a PlanHead>,
    members: &[Member],
    given_up: &[WorkerIndex],
) -> Vec<Member> {
    let mut asked: BTreeMap<WorkerIndex, Member> = BTreeMap::new();
    for member in since_started
        .into_iter()
        .flat_map(|plan| &plan.members)
        .chain(members)
    {
        asked.insert(member.index, *member);
    }
    asked.retain(|index, _| !given_up.contains(index));
    asked.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::pod_uid;

    #[test]
    fn the_name_of_a_pod_never_changes() {
        assert_eq!(pod_uid(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(
            pod_uid("0f0ab8dc-1c1b-4f4e-9a3b-0c8f4bdb4a11"),
            pod_uid("0f0ab8dc-1c1b-4f4e-9a3b-0c8f4bdb4a11")
        );
    }
}
