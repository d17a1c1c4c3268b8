//! The machine's rim: what goes in, what comes out, what outlives the process.
//!
//! Owns: [`Event`], [`Action`], [`Saved`] and what they ask of the runtime. Leaves to others: doing it.
//!
//! The runtime does the actions of one step in their order, and starts no later step's actions before. Work that
//! takes time (opening, draining, snapshots, installing) is begun in that order and answered by an event; the machine
//! waits for the answer where it needs it. Answers are matched by epoch or ballot, so a late one does no harm.

use serde::{Deserialize, Serialize};

use super::message::{Hello, Message};
use super::plan::PlanHead;
use super::types::{Ballot, Committed, CopyId, Epoch, Incarnation, TaskId, Traffic, WorkerIndex};

/// What a worker keeps on its volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Saved {
    /// The newest plan that it was told.
    pub plan: Option<PlanHead>,
    /// The newest epoch that it committed.
    pub committed: Option<Committed>,
    /// The newest epoch that it was told to be committed; it never joins an older one.
    pub told: Epoch,
    /// The newest epoch that it knows to be started.
    pub started: Epoch,
}

/// How patient the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    /// A coordinator repeats an order that was not answered for so long, in milliseconds.
    pub retry_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { retry_ms: 1_000 }
    }
}

/// What happens to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// A plan was read. Older ones and the same one again are harmless.
    Plan(PlanHead),
    /// A control link to a peer is up, and the peer's first word was read.
    ///
    /// The peer's index is authenticated by the runtime. A second link to the same life replaces the first.
    PeerUp {
        /// The peer.
        peer: WorkerIndex,
        /// Which life of it.
        incarnation: Incarnation,
        /// Its first word, as [`super::Machine::hello`] made it.
        hello: Hello,
    },
    /// The control link to this life of a peer broke, or its pings are missed.
    PeerLost {
        /// The peer.
        peer: WorkerIndex,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// A message came over the control link.
    Message {
        /// The sender.
        from: WorkerIndex,
        /// Which life of it: that of the link.
        incarnation: Incarnation,
        /// The message.
        message: Message,
    },
    /// [`Action::Open`] is done.
    Opened {
        /// The epoch of its plan.
        epoch: Epoch,
    },
    /// [`Action::Drain`] is done: this worker's roots are done or failed, and it is idle.
    Drained {
        /// The ballot of the drain.
        ballot: Ballot,
        /// The wave of the drain.
        wave: u32,
        /// False if the time ran out and what was left was failed.
        complete: bool,
        /// Frames exchanged with each life of each peer in the committed epoch. May leave out pairs of zeros.
        traffic: Vec<Traffic>,
    },
    /// [`Action::Snapshot`] is done: the tasks are frozen and their copies are kept.
    Snapshotted {
        /// The ballot of the snapshot.
        ballot: Ballot,
    },
    /// A copy that a peer sent with [`Action::SendCopy`] is here as a whole. The runtime keeps its bytes.
    CopyArrived {
        /// The sender.
        from: WorkerIndex,
        /// Which life of it.
        incarnation: Incarnation,
        /// The hand-over it was sent for.
        ballot: Ballot,
        /// Which copy it is.
        copy: CopyId,
    },
    /// [`Action::Install`] is done.
    Installed {
        /// The ballot of the installation.
        ballot: Ballot,
    },
    /// Time goes by. A few times a second is enough; it drives repetitions, and the waves of a drain.
    Tick,
}

/// A task that gets state before its epoch is committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Installation {
    /// The task.
    pub task: TaskId,
    /// The copies it starts with; none: it starts empty. Those of another numbering are of its parents: it takes its part of
    /// each.
    pub copies: Vec<CopyId>,
}

/// Why a worker ends its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// It has left: the epoch without it is started. Started again, it runs nothing, and may be asked by a plan that
    /// was made before its leave was seen; so its pod goes when no plan asks it any more.
    Left,
    /// An epoch was made without it. Started again, it waits to be asked or let in.
    MadeWithout(Epoch),
    /// A plan gave it up, or put another pod in its place, and what it runs is older.
    GivenUp(Epoch),
    /// A newer life of the same worker was seen.
    Outlived,
}

/// Why a peer is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The newest plan gave it up.
    #[error("the newest plan has given this worker up")]
    GivenUp,
    /// No plan here names it.
    #[error("no plan names this worker")]
    Stranger,
    /// The newest plan names another pod for this index.
    #[error("the newest plan names another pod for this worker")]
    OtherPod,
    /// A newer life of it was seen.
    #[error("a newer life of this worker was seen")]
    OldIncarnation,
    /// Its link is not up with this life.
    #[error("there is no control link to this life of the worker")]
    NoLink,
    /// Its data is of another epoch than the one that runs here.
    #[error("the epoch is not the one that runs here")]
    OtherEpoch,
    /// Nothing runs here yet.
    #[error("nothing runs here yet")]
    NotJoined,
}

/// What the runtime does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a message over the control link. If the link is gone it is dropped; the machine repeats what matters.
    Send {
        /// The receiver.
        to: WorkerIndex,
        /// The message.
        message: Message,
    },
    /// Write this to the volume, durably before any later action of this or another step.
    Save(Saved),
    /// Construct and open the tasks that the plan gives this worker and that are not open yet, and connect to its
    /// members. They get nothing to do yet, and what runs goes on. Answer [`Event::Opened`].
    Open(PlanHead),
    /// Pause all spouts of this worker: they emit nothing until [`Action::StartSpouts`].
    PauseSpouts,
    /// Wait until this worker's spouts have no root pending and its tasks are idle, at most `timeout_ms` from the
    /// first wave of this ballot; then fail what is left, so that its spouts bring it again. Held tuples do not count
    /// as work. Answer [`Event::Drained`].
    Drain {
        /// The ballot.
        ballot: Ballot,
        /// The wave; a new one asks for the counts anew.
        wave: u32,
        /// How long it may take.
        timeout_ms: u64,
    },
    /// Freeze these running tasks: from here on they apply nothing, and nothing is emitted for them. Keep a copy of
    /// each (state, held tuples, a spout's position and undelivered roots) under its task, `since` and `tag`. A task that is
    /// frozen already gives the same state again. Answer [`Event::Snapshotted`].
    Snapshot {
        /// The tasks.
        tasks: Vec<TaskId>,
        /// Since when they are numbered so: by the plan that runs.
        since: Epoch,
        /// The ballot; with each task it names a copy.
        tag: Ballot,
    },
    /// Send the bytes of a copy that is kept here; the receiver's runtime keeps them and then says
    /// [`Event::CopyArrived`]. Given again after each break of the link.
    SendCopy {
        /// The receiver.
        to: WorkerIndex,
        /// The hand-over it is for.
        ballot: Ballot,
        /// The copy.
        copy: CopyId,
    },
    /// Prepare the opened tasks with these states beside what runs; they go live at [`Action::Commit`]. Replaces what
    /// an earlier installation prepared. Copies stay kept. Answer [`Event::Installed`].
    Install {
        /// The ballot.
        ballot: Ballot,
        /// Its plan, which says how tasks are numbered.
        plan: PlanHead,
        /// All tasks that do not run here already.
        tasks: Vec<Installation>,
    },
    /// This worker was left behind: drop running tasks and kept copies. They are lost as in a crash.
    DropTasks,
    /// Throw away every frame, ack and ledger entry of epochs below this one, wherever it waits.
    EmptyQueues {
        /// The epoch that begins.
        below: Epoch,
    },
    /// The epoch of this plan is the one that runs: tasks that the plan puts here and that ran go on (thawed), if they are
    /// numbered as the plan has it; installed ones go live, all others end; routes follow the plan. Kept copies stay. Spouts stay paused.
    Commit(Committed),
    /// Let the spouts go.
    StartSpouts,
    /// Drop kept copies whose tag is of this epoch or older.
    DropCopies {
        /// The epoch.
        through: Epoch,
    },
    /// A newer life of this peer is here: close the streams of older ones and drop what they still hold, and say
    /// `lost` on the ledger links if that was not said.
    CloseOlder {
        /// The peer.
        peer: WorkerIndex,
        /// The life that stays.
        incarnation: Incarnation,
    },
    /// Close all streams with this life of the peer, and drop what they still hold.
    Refuse {
        /// The peer.
        peer: WorkerIndex,
        /// The life that is refused.
        incarnation: Incarnation,
        /// Why.
        refusal: Refusal,
    },
    /// This life of the peer runs the same epoch: send it what waits for it.
    PeerRuns {
        /// The peer.
        peer: WorkerIndex,
        /// Which life.
        incarnation: Incarnation,
    },
    /// End the process; nothing comes after it.
    Exit(ExitReason),
}
