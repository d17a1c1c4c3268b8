//! What machines say to each other.
//!
//! Owns: the messages of the control link. Leaves to others: how they travel (first in first out on one link), and
//! the bytes of copies, which the runtime sends beside them.

use serde::{Deserialize, Serialize};

use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Move, Traffic};

/// What a worker tells about itself: with each new link, and to all whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The ballot of the newest epoch that it committed, in this life or before.
    pub committed: Option<Ballot>,
    /// Whether it was this life that committed it, so that its tasks are in this process.
    pub joined: bool,
    /// The newest epoch that it knows to be started.
    pub started: Epoch,
}

/// The first word on a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The newest plan that it knows.
    pub plan: Option<PlanHead>,
    /// How it stands.
    pub state: State,
}

/// A message of the control link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// Any worker to its peers: how it stands.
    State(State),
    /// A worker that runs an epoch to one that runs nothing: join, with empty tasks.
    Admit(Committed),
    /// The coordinator to those it asks.
    Order {
        /// The ballot.
        ballot: Ballot,
        /// The plan of the ballot's epoch.
        plan: PlanHead,
        /// What to do.
        order: Order,
    },
    /// Those asked to the coordinator: done.
    Answer {
        /// The ballot of the order.
        ballot: Ballot,
        /// What was done.
        answer: Answer,
    },
    /// Those asked to a coordinator whose ballot is too low; it stops.
    Refused {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The highest ballot that was promised, if that is the reason.
        promised: Option<Ballot>,
        /// The newest plan that the refuser knows.
        plan: Option<PlanHead>,
    },
}

/// What a coordinator wants, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Open what the plan will need, and go on with what runs.
    Open,
    /// Promise the ballot, pause the spouts, report.
    Promise,
    /// Catch up with the base, and let what is in flight come to its end.
    Drain {
        /// The newest epoch that anyone has committed.
        base: Option<Committed>,
        /// Counts the questions of one drain: traffic is asked for until both ends of every pair agree.
        wave: u32,
    },
    /// Freeze, send and receive what moves.
    HandOver {
        /// All that moves.
        moves: Vec<Move>,
        /// The newest epoch that anyone knows to be started.
        started: Epoch,
    },
    /// Take the new epoch.
    Commit,
    /// The epoch is committed somewhere already: take it, too, or join it.
    Finish {
        /// With which ballot it was committed.
        committed: Ballot,
        /// What those get who were restarted.
        moves: Vec<Move>,
        /// The newest epoch that anyone knows to be started.
        started: Epoch,
    },
    /// All have committed: run.
    Start,
}

/// What those asked have done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// All is open.
    Opened,
    /// The ballot is promised.
    Promised(Box<Report>),
    /// Nothing is in flight here.
    Drained {
        /// Which question this answers.
        wave: u32,
        /// False if the time ran out and what was left was failed.
        complete: bool,
        /// Frames exchanged with each peer.
        traffic: Vec<Traffic>,
        /// The frozen copies that it holds by now. One may have come after the report, and its source have died
        /// before it was asked; all that is asked to drain was alive when all had reported.
        copies: Vec<CopyId>,
    },
    /// State is handed over and installed, and the ballot recorded.
    Ready,
    /// The epoch is committed.
    Committed,
    /// The epoch is started.
    Started,
}

/// What a worker has, at its promise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The newest epoch that it committed, in this life or before.
    pub committed: Option<Committed>,
    /// Whether it was this life.
    pub joined: bool,
    /// The ballot that it was last ready with, in this life.
    pub ready: Option<Ballot>,
    /// The newest epoch that it knows to be started.
    pub started: Epoch,
    /// The frozen copies that it holds.
    pub copies: Vec<CopyId>,
}
