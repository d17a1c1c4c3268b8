//! The words of the epoch machine: who, which life of whom, which change, which copy.
//!
//! Owns: plain values, ordered and serialisable. Leaves to others: every rule about them.

use serde::{Deserialize, Serialize};

use super::plan::PlanHead;
pub use crate::graph::TaskId;
pub use crate::placement::WorkerIndex;

/// A number that grows with each change of the plan. 0 is before the first plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// One life of a worker's process: which pod, and how often it was started there.
///
/// Two lives in one pod are ordered by `start`. Of two pods the one that the newest plan names is the newer one, so
/// pods are never compared by the value of `uid`. Within one epoch a plan names one pod for an index, so the derived
/// order is the true one there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The pod, as plans name it; a constant where there are no pods.
    pub uid: u64,
    /// How many times a process was started there; counted on the volume, from 1.
    pub start: u64,
}

/// One try of one coordinator to bring one plan about. Ordered: a worker obeys the highest that it has promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The epoch of the plan.
    pub epoch: Epoch,
    /// The life of the coordinator; its index is in the plan.
    pub coordinator: Incarnation,
    /// Counts the tries of this life.
    pub attempt: u32,
}

/// A plan that somebody has committed, and the ballot it was committed with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Committed {
    /// The ballot. An epoch is committed with one ballot only.
    pub ballot: Ballot,
    /// The plan of that epoch.
    pub plan: PlanHead,
}

impl Committed {
    /// The epoch that was committed.
    pub fn epoch(&self) -> Epoch {
        self.ballot.epoch
    }
}

/// The name of a frozen copy of a task's state: the task, by which numbering, and the ballot whose hand-over made the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyId {
    /// The task.
    pub task: TaskId,
    /// Since when tasks are numbered as this one is.
    #[serde(default)]
    pub since: Epoch,
    /// The hand-over that froze it.
    pub tag: Ballot,
}

/// Where the state of a task comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The worker that owns the task in the base, and whose process is still the one that ran it.
    Owner(WorkerIndex),
    /// A frozen copy.
    Copy {
        /// Who holds it.
        holder: WorkerIndex,
        /// Which it is.
        tag: Ballot,
    },
    /// There is none: the task starts empty.
    Nothing,
}

/// The state of one task goes somewhere. Tasks that stay where they run have no move.
///
/// A task of the plan's own numbering goes on with it. One of an ancestor's is a parent of tasks there: see
/// [`super::Ancestor::parents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Move {
    /// The task.
    pub task: TaskId,
    /// Since when tasks are numbered as this one is.
    #[serde(default)]
    pub since: Epoch,
    /// Where its state is.
    pub from: Source,
    /// Who owns the task in the new plan, or tasks that go on with its state.
    pub to: WorkerIndex,
}

/// Frames that a worker exchanged with one life of one peer, for the drain's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// The peer.
    pub peer: WorkerIndex,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Frames sent to it in this epoch.
    pub sent: u64,
    /// Frames of it that were taken in and worked off in this epoch.
    pub received: u64,
}

/// Where a worker is in the moves, for `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Runs nothing; waits to be asked or let in.
    Waiting,
    /// Opens what a plan will need; runs nothing yet.
    Opening,
    /// Has promised a ballot; its spouts are paused.
    Promised,
    /// Waits until nothing is in flight.
    Draining,
    /// Nothing is in flight.
    Drained,
    /// State goes out and comes in.
    HandingOver,
    /// Has all that the new plan needs.
    Ready,
    /// Has committed the new epoch; spouts still wait.
    Committed,
    /// Runs.
    Started,
    /// Is over; the process ends.
    Exited,
}
